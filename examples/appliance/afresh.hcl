# An image that is more than its packages: further suites, users, files, a unit, a script with build arguments, and tests of it.
# `sudo afresh bake appliance --file afresh.hcl` bakes it; `--arg CHANNEL=beta` bakes another one.

image "appliance" {
  debian   = "bookworm"
  suites   = ["bookworm-backports"]
  packages = ["ca-certificates", "python3", "systemd-sysv"]

  # Made with a group of the same name and number.
  user "clock" {
    uid    = 2000
    home   = "/srv/clock"
    groups = ["adm"]
  }

  # The owner is root. Only root and the group `adm` may read this one: see the script.
  file "/etc/clock/secret.conf" {
    content = "token=none\n"
    mode    = "0640"
  }

  file "/usr/local/bin/clock-banner" {
    content = <<-END
      #!/bin/sh
      cat /etc/clock/banner
    END
    mode = "0755"
  }

  # A unit is a file like any other; the script switches it on. It counts where the image boots as a machine (`afresh image emit --disk`).
  file "/etc/systemd/system/clock-banner.service" {
    content = <<-END
      [Unit]
      Description=Show the banner on the console

      [Service]
      Type=oneshot
      ExecStart=/usr/local/bin/clock-banner
      StandardOutput=tty

      [Install]
      WantedBy=multi-user.target
    END
  }

  # The script is run last, as root in the image's tree, without network. It must give the same result each time: it is run twice, and what differs
  # is told by path. Its arguments are variables; they are no secrets, the image's provenance shows them.
  args = { CHANNEL = "stable" }
  script = <<-END
    set -eu
    systemctl enable clock-banner.service
    chgrp adm /etc/clock/secret.conf
    echo "the clock, channel $CHANNEL" > /etc/clock/banner
    install -d -o clock -g clock -m 0750 /srv/clock/state
  END

  check "python" { run = ["python3", "--version"] }
  check "banner" { run = ["/usr/local/bin/clock-banner"] }
  check "no-compiler" { absent = "/usr/bin/gcc" }
}

service "clock" {
  tier     = "web"
  image    = image.appliance
  artifact = "app"
  run      = ["python3", "clock.py"]
  user     = "2000:2000"
  port     = 8080
  count    = 1

  health { path = "/"  every = "200ms"  healthy_for = "500ms" }
  route  { listen = "127.0.0.1:18480" }
}
