image "a" {
  debian   = "bookworm"
  packages = []
  rebuild  = "dayly"
}
image "b" {
  debian   = "bookworm"
  packages = []
  rebuild  = "0 25 * * *"
}
