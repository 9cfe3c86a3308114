image "a" {
  debian   = "bookworm"
  packages = []
  check "both" {
    run    = ["python3", "--version"]
    absent = "/usr/bin/gcc"
  }
  check "none" { within = "5s" }
  check "where" { file = "usr/bin/../python3" }
}
