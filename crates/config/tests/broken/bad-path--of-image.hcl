image "a" {
  debian   = "bookworm"
  packages = []
  file "etc/motd" { content = "" }
  file "/etc/../motd" { content = "" }
  file "/etc//motd" { content = "" }
  file "/etc/motd/" { content = "" }
  file "/" { content = "" }
  file "/etc/a\"b" { content = "" }
  file "/etc/${name}" { content = "" }
  user "eve" {
    uid   = 1000
    home  = "srv/eve"
    shell = "/bin/sh:/bin/sh"
  }
}
