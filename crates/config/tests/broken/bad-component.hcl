image "a" {
  debian     = "bookworm"
  packages   = []
  components = ["main", "Universe", "updates/main", "main"]
}
image "b" {
  debian     = "bookworm"
  packages   = []
  components = "main"
}
