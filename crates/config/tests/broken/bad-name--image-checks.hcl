image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "image-base" {
  tier  = "web"
  image = image.base
  run   = ["./web"]
  count = 3
}
