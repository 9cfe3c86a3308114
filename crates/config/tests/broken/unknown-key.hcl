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
  prot = 80
  replicas = 3
  healthy_for = "3s"
}
