image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 1
  volume "a" { source = "/srv/a"  at = "/data" }
  volume "b" { source = "/srv/b"  at = "/data/b" }
  volume "c" { source = "/srv/c"  at = "/data" }
  volume "d" { source = "/srv/d"  at = "/database" }
}
