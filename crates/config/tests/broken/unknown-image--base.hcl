image "base" {
  debian   = "bookworm"
  packages = []
}
image "web" {
  base     = image.bsae
  packages = []
}
image "quoted" {
  base     = "base"
  packages = []
}
