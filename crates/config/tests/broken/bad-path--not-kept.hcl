image "a" {
  debian   = "bookworm"
  packages = []
  file "/etc/hostname" { content = "web" }
  file "/run/web/settings" { content = "" }
  file "/app/web.py" { content = "" }
  file "/var/log/web.log" { content = "" }
  file "/etc/hostname.d/web" { content = "" }
}
