image "base" { debian = "bookworm"  packages = [] }
service "web" {
  tier = "web"  image = image.base  run = ["./web"]  count = 2
  network { egress = true  allow = "host:6379" }
  network { egress = [443]  ports = [80] }
}
