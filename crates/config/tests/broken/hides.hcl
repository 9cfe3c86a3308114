image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 1
  volume "a" { source = "/srv/a"  at = "/run/secrets" }
  volume "b" { source = "/srv/b"  at = "/" }
  volume "c" { source = "/srv/c"  at = "/proc/self" }
  volume "d" { source = "/srv/d"  at = "/run" }
  volume "e" { source = "/srv/e"  at = "/app" }
  volume "f" { source = "/srv/f"  at = "/etc/ssl" }
}
