image "base" {
  debian   = "bookworm"
  packages = []
}
image "shop" { oci = "registry.example.org/shop:1" }
secret "number" { file = "number" }

service "web" {
  tier  = "web"
  image = image.base
  run   = ["./web"]
  env   { PORT = 3000  AFRESH_RELEASE = "7"  MODE = "live" }
  port  = 8080
  count = 1
}
service "same" {
  tier  = "web"
  image = image.base
  run   = ["./web"]
  env   { PORT = "8080" }
  port  = 8080
  count = 1
}
service "none" {
  tier  = "web"
  image = image.base
  run   = ["./web"]
  env   { PORT = 3000 }
  count = 1
}
service "container" {
  tier  = "web"
  image = image.shop
  env   = { PORT = secret.number }
  count = 1
}
