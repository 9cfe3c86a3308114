image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.bsae
  run    = ["./web"]
  count  = 3
  port   = 8080
}
service "b" {
  tier   = "web"
  image = image.other
  run    = ["./web"]
  count  = 3
  port   = 8080
}
