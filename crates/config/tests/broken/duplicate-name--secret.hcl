image "base" { debian = "bookworm" packages = [] }
secret "db" { file = "/etc/a" }
secret "db" { file = "/etc/b" }
secrets "other" { file = "/etc/b" }
service "web" {
  tier = "web" image = image.base run = ["./web"] count = 1
  env { A = "1"  A = secret.db }
}
