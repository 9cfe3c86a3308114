image "base" "more" {
  debian = "bookworm"
  packages = []
}
service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  health "x" { path = "/" }
}
