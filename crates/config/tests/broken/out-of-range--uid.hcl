image "a" {
  debian   = "bookworm"
  packages = []
  user "root" { uid = 0 }
  user "nobody" { uid = 65534 }
}
