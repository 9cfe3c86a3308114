image "shop" {
  base = image.python # and so on
  packages = []
  user "shop" { uid = 1000 }
}
image "python" {
  base = image.base
  packages = ["python3-minimal"]
  rebuild = "daily"
}
image "base" {
  debian = "trixie"
  suites = ["trixie-backports"]
  packages = ["ca-certificates", "curl"]
}
