image "app" {
  oci = "registry.example.org/shop/app:1.4"
}

service "web" {
  tier  = "web"
  image = image.app
  count = 1
  route {
    internal = true
  }
}
