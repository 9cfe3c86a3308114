image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier  = "web"
  image = image.base
  run   = ["./web"]
  count = 1
  job "a" {
    schedule = "daily"
    run      = ["./a"]
    overlap  = "allow"
  }
}
