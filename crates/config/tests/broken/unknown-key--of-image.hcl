image "a" {
  debian   = "bookworm"
  packages = []
  content = "x"
  file "/etc/motd" {
    content     = "x"
    permissions = "0600"
    owner       = "root"
  }
  user "eve" {
    uid  = 1000
    path = "/bin"
  }
  file   = "/etc/motd"
  user   = "1000:1000"
  script { run = "true" }
}
