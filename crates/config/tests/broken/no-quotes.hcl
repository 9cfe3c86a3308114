image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = web
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  health { every = 500ms }
  limits { memory = 256MiB }
  user = nobody
  route { listen = 127.0.0.1:8080 }
}
