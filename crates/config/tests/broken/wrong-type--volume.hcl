image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 1
  volume "a" { source = ["/srv/a"]  at = "/a"  read_only = "no" }
  volume "a" { source = "/srv/a"  at = "/b" }
  volume "Big" { source = "/srv/a" }
  volume { source = "/srv/a"  at = "/c" }
  volumes = ["/srv/a"]
}
