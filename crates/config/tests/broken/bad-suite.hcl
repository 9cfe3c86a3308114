image "a" {
  debian   = "bookwrom"
  packages = []
}
image "b" {
  debian   = "12"
  packages = []
}
image "c" {
  debian   = "Debian Twelve"
  packages = []
}
