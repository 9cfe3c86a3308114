image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 1
  volume "a" { source = "uploads"  at = "/a" }
  volume "b" { source = "/srv/../etc"  at = "/b" }
  volume "c" { source = "/srv/c/"  at = "c" }
  volume "d" { source = "/srv/shared/*"  at = "/d/./e" }
}
