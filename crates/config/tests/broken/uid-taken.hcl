image "a" {
  debian   = "bookworm"
  packages = []
  user "one" { uid = 1000 }
  user "two" { uid = 1000 }
}
