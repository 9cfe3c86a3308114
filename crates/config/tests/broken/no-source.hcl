image "base" { debian = "bookworm" packages = [] }
secret "db" {}
secret "key" { value = "hunter2" }
secret "api" { fiel = "/etc/api" }
service "web" {
  tier = "web" image = image.base run = ["./web"] count = 1
  env { URL = secret.db }
  secrets = [secret.key, secret.api]
}
