image "base" { debian = "bookworm"  packages = [] }
service "web" {
  tier = "web"  image = image.base  run = ["./web"]  count = 2
  network { egress = ["10.0.0.0/8:0", "10.0.0.0/8:70000", "10.0.0.0/8:9-8", "db.example.org:https", "10.0.0.0/8:53/sctp"]  allow = ["host:0"] }
}
