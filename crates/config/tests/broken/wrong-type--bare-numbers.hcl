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
  drain { within = 30 }
  limits { memory = 256 }
  route { listen = 8080 }
  rollout { waves = [1, "100%"]  errors = 1  soak = 0 }
}
