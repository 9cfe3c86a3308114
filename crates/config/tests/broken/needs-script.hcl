image "a" {
  debian   = "bookworm"
  packages = []
  args     = { CHANNEL = "stable" }
}
image "b" {
  debian   = "bookworm"
  packages = []
  args { CHANNEL = "stable" }
}
image "c" {
  debian   = "bookworm"
  packages = []
  args     = {}
}
