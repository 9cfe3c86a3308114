image "app" {
  oci = "registry.example.org/shop/app:1.4"
}

image "more" {
  base     = image.app
  packages = ["curl"]
}
