image "a" {
  debian   = "bookworm"
  packages = []
  window   = "2-5"
  jitter   = "8d"
}
image "b" {
  debian   = "bookworm"
  packages = []
  window   = "02:00-02:00"
}
service "web" {
  tier  = "web"
  image = image.a
  run   = ["web"]
  count = 1
  rollout {
    freeze = ["Friday 18:00-Mon 06:00", "Fri 18:00-06:00", "25:00-26:00", "Sat 00:00-Sun 24:00"]
  }
}
