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
  helth { path = "/" }
  autoscale { max = 3 }
}

servcie "x" {
  tier = "web"
}
