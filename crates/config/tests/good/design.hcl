image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates", "python3-minimal"]
  rebuild  = "daily"            # always patched: a new image rolls out by itself, tier by tier
  max_age  = "7d"
}

service "worker" {
  tier   = "background"
  image  = image.base
  run    = ["python3", "worker.py"]
  count  = 2
  health { exec = ["python3", "worker.py", "--check"]  healthy_for = "3s" }
  drain  { signal = "TERM"  within = "60s" }
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["python3", "web.py"]
  port   = 8080
  count  = 3
  health { path = "/healthz"  every = "500ms"  healthy_for = "3s" }
  route  { listen = ":8080" }
  rollout {
    waves   = ["1", "50%", "100%"]
    soak    = "10s"
    errors  = "1%"              # more than this while soaking: roll back
    within  = "5m"
  }
}

rollout { tiers = ["background", "web"] }
