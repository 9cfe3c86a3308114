image "base" {
  debian   = "bookworm"
  packages = ["Python3", "curl=7.88", "ca-certificates curl", "x", "../etc/passwd"]
}
