image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 1
  volume "a" { source = "/"  at = "/a" }
  volume "b" { source = "/etc/ssl"  at = "/b" }
  volume "c" { source = "/run/docker"  at = "/c" }
  volume "d" { source = "/srv"  at = "/d" }
}
