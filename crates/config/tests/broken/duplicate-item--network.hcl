image "base" { debian = "bookworm"  packages = [] }
service "web" {
  tier = "web"  image = image.base  run = ["./web"]  count = 2
  network { egress = ["10.0.0.1/32:80", "10.0.0.1:80/tcp"]  allow = ["host:80", "host:80-80"] }
}
