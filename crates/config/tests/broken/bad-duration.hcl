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
  health { every = "5 sec"  timeout = "10"  healthy_for = "3x" }
  drain { within = "" }
  rollout { soak = "30m1h"  within = "99999999999999999999d" }
}
