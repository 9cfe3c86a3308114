image "base" { debian = "bookworm"  packages = [] }
service "web" {
  tier = "web"  image = image.base  run = ["./web"]  count = 2
  network {
    egress = [
      "10.0.0.0/8",
      "10.0.0.5/8:5432",
      "2001:db8::1:443",
      "[10.0.0.1]:80",
      "[2001:db8::1:443",
      "db:5432",
      "*.example.org:443",
      "https://example.org/",
      "127.0.0.1:6379",
      "host.internal:6379",
      "worker.internal:7000",
      "[::ffff:10.0.0.1]:80",
      "exa mple.org:80",
    ]
  }
}
