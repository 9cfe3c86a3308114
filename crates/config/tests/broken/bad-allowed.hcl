image "base" { debian = "bookworm"  packages = [] }
service "web" {
  tier = "web"  image = image.base  run = ["./web"]  count = 2
  network { allow = [service.Worker, "service.", "worker", "6379", "127.0.0.1:6379", "10.0.0.1:5432", "hosts:80", "localhost:6379", 6379, "db.example.org"] }
}
