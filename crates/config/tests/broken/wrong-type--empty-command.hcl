image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run = []
  count  = 3
  port   = 8080
}
service "b" {
  tier   = "web"
  image  = image.base
  run = [""]
  count  = 3
  port   = 8080
}
service "c" {
  tier   = "web"
  image = service.web
  run    = ["./web"]
  count  = 3
  port   = 8080
}
