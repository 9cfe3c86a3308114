image "a" {
  debian   = "bookworm"
  packages = []
  user "eve" {}
  file "/etc/motd" { mode = "0600" }
  file { content = "" }
}
