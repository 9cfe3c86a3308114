image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  env = { A = "a\u001b[2J", B = "\u0007" }
}
