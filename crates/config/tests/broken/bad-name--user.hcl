image "a" {
  debian   = "bookworm"
  packages = []
  user "Shop" { uid = 1000 }
  user "root;rm" { uid = 1001 }
  user "eve" {
    uid    = 1002
    groups = ["adm", "a b", "adm"]
  }
  user "a-name-that-is-longer-than-any-of-debians-own" { uid = 1003 }
}
