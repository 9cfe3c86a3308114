image "base" { debian = "bookworm" packages = [] }
secret "db" { file = "/etc/shop/db-url" }
service "web" {
  tier = "web" image = image.base run = ["./web"] count = 1
  env {
    DATABASE_URL = secret.bd
    TOKEN = secret.token
    IMAGE = image.base
    PLURAL = secrets.db
    NESTED = secret.db.url
    LIST = [secret.db]
  }
  secrets = ["db", secret.db, secret.db, image.base, secret.dp]
}
