image "base" { debian = "bookworm"  packages = [] }
service "web" {
  tier = "web"  image = image.base  run = ["./web"]  count = 2  port = 8080
  route { internal = true  listen = ":80" }
}
service "b" {
  tier = "web"  image = image.base  run = ["./web"]  count = 2  port = 8080
  route { listen = ":81"  port = 82 }
}
service "c" {
  tier = "web"  image = image.base  run = ["./web"]  count = 2  port = 8080
  route { internal = true  port = 53 }
}
service "d" {
  tier = "web"  image = image.base  run = ["./web"]  count = 2
  route { internal = "yes" }
}
