# All that an image can have besides its packages.
image "plain" {
  debian = "bookworm"
  packages = []
  suites = []
}
image "shop" {
  debian = "bookworm"
  suites = ["bookworm-proposed-updates", "bookworm-backports"]
  components = ["main", "contrib"]
  packages = ["ca-certificates"]
  user "shop" { uid = 1000 home = "/srv/shop"  shell = "/bin/sh" groups = ["www-data", "adm"] }
  user "odd" { uid = 65533 }
  file "/etc/motd" { content = "hello\n" mode = "600" }
  file "/etc/it's here" { content = "" } # empty
  file "/usr/local/bin/x" {
    content = "#!/bin/sh\n"
      mode = "4755"
  }
  file "/etc/systemd/system/shop.service" {
    content = <<-END
      [Service]
      ExecStart=/app/shop
      Environment=HOME=$${HOME}
    END
  }
  args { CHANNEL = "it's $${x}" LEVEL=3 dry_run = false }
  script = <<END
set -eu
if true; then
  ln -s /srv/shop /shop
fi
END
  check "motd" { file = "/etc/motd" }
}
