image "base" {
  debian   = "bookworm"
  packages = []
}

service "web" {
  tier     = "web"
  image    = image.base
  artifact = "https://example.org/code.tar.gz"
  run      = ["/app/web"]
  count    = 1
}
