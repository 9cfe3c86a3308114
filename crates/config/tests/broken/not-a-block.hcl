image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run { "./web" = 1 }
  count  = 3
  port { number = 80 }
}
