image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count = -x
  port = (80)
  drain { within = !true }
  health { tcp = 1 == 2 }
  user = image.base.digest
}
