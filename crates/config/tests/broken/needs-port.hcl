image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  health { path = "/healthz" }
  route { listen = ":80" }
}
service "b" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  health { tcp = true }
}
