image "base" { debian = "bookworm"  packages = [] }
service "web" {
  tier = "web"  image = image.base  run = ["./web"]  count = 2
  network { egress = "all" }
}
service "b" { tier = "web"  image = image.base  run = ["./web"]  count = 2  network { egress = "10.0.0.0/8:5432" } }
service "c" { tier = "web"  image = image.base  run = ["./web"]  count = 2  network { egress = [] } }
