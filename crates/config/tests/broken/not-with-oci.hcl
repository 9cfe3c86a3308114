image "app" {
  oci      = "registry.example.org/shop/app:1.4"
  debian   = "bookworm"
  packages = ["curl"]
  file "/etc/motd" {
    content = "x"
  }
  args = { A = "b" }
}
