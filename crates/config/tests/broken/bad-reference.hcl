image "app" {
  oci = "nginx:1.27"
  registry {
    auth = "registry.json"
  }
}

service "web" {
  tier  = "web"
  image = image.app
  count = 1
}
