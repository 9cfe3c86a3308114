image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "s0" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  route { listen = "8080" }
}
service "s1" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  route { listen = "127.0.0.1" }
}
service "s2" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  route { listen = "localhost:8080" }
}
service "s3" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  route { listen = "http://127.0.0.1:80" }
}
service "s4" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  route { listen = "::1" }
}
service "s5" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  route { listen = ":0" }
}
service "s6" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  route { listen = ":99999" }
}
service "s7" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  route { listen = "web" }
}
