# Images that others built.
image "app" {
  oci     = "registry.example.org/shop/app:1.4"
  rebuild = "hourly"
  max_age = "7d"
  window  = "02:00-05:00"
  jitter  = "10m"
  registry {
    auth       = "/etc/afresh/registry.json"
    ca         = "/etc/afresh/registry-ca.pem"
    plain_http = true
  }
  check "starts" {
    run    = ["/app", "--version"]
    within = "1m"
  }
}

image "local" {
  oci = "oci-archive:/srv/app.tar"
}

service "bare" {
  tier  = "web"
  image = image.app
  count = 2
  env   = { LOG = "info" }
  route {
    listen = ":8080"
  }
}

service "own" {
  tier  = "web"
  image = image.local
  run   = ["/app"]
  user  = "1000:1000"
  port  = 80
  count = 1
  health {
    tcp = true
  }
  drain {
    signal = "QUIT"
  }
}
