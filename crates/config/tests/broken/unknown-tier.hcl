image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "wbe"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
}
service "b" {
  tier = "batch"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
}

rollout { tiers = ["background", "web"] }
