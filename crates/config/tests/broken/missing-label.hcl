image {
  debian = "bookworm"
  packages = []
}
image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
}
service "b" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  check { run = ["x"]  within = "1s" }
}
