image "base" {
  debian   = "bookworm"
  packages = ["python3"]
}

service "web" {
  tier     = "web"
  image    = image.base
  artifact = "app"
  run      = ["python3", "web.py"]
  env      = { PORT = 8080, ROUND = "0" }
  port     = 8080
  count    = 2
  health { path = "/healthz"  every = "1s"  timeout = "5s"  healthy_for = "2s"  unhealthy_after = 5 }
  drain { signal = "TERM"  within = "10s" }
  route { listen = ":8080" }
  rollout { waves = ["1", "100%"]  soak = "2s"  within = "5m" }
}
