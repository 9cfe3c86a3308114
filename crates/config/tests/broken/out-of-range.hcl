image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 4
  port = 70000
  health { every = "1ms"  timeout = "2h"  unhealthy_after = 0 }
  drain { within = "2d" }
  limits { memory = "1k"  cpu = "1m"  pids = 0 }
  rollout { errors = "101%"  waves = ["1", "5", "100%"] }
}
service "b" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count = 101
  port   = 8080
}
service "c" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count = 1000000000000
  port   = 8080
}
