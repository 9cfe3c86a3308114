image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  port   = 9090
  health { path = "/" }
  health { path = "/h" }
  env = { A = "1", A = "2" }
}
