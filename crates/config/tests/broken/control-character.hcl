image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web", "[2Jhello"]
  count  = 3
}
