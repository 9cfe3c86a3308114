image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

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
}
service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port = 81
}
rollout { tiers = ["web"] }
rollout { tiers = ["web"] }
