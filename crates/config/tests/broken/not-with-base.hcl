image "base" {
  debian   = "bookworm"
  packages = []
}
image "web" {
  debian   = "bookworm"
  base     = image.base
  suites   = ["bookworm-backports"]
  components = ["main", "contrib"]
  packages = ["nginx"]
}
