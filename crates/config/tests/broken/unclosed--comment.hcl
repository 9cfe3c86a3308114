image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

/* never
service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
}
