image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web", "\u202egpj.exe"]
  count  = 3
  env = { A = "\u200b" }
}
