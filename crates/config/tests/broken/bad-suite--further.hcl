image "a" {
  debian   = "bookworm"
  packages = []
  suites = ["--x", "bookworm-backports", "bookwrom", "a-suite-with-a-name-that-is-too-long"]
}
image "b" {
  debian   = "bookworm"
  packages = []
  suites   = ["bookworm-backports", "sid", "bookworm-backports"]
}
