image "base" { debian = "bookworm" packages = [] }
service "web" {
  tier = "web" image = image.base run = ["./web"] count = 1
  env = { DATABASE_URL = secret.db, SERVICE = secret.db }
  secrets = secret.db
}
