image "base" {
  debian   = "bookworm"
  packages = ["curl", "python3", "curl"]
}
service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
}
rollout { tiers = ["web", "back", "web"] }
