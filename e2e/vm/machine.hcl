# The machine that the package is tried on. Its root is what Afresh bakes and the kernel verifies; what is written to it stays on a second
# disk, as on any machine that somebody installs packages on.
image "machine" {
  debian   = "bookworm"
  packages = [
    "systemd-sysv", "dbus", "udev", "kmod", "procps", "init-system-helpers",
    # What the package depends on: the machine reaches no mirror.
    "ca-certificates", "erofs-utils", "iproute2", "mount", "nftables", "runc", "util-linux",
  ]

  # Process 1, in place of systemd, which it ends as. The modules and everything else that is brought are in /app.
  file "/usr/lib/systemd/first" {
    content = <<-END
      #!/bin/sh
      if [ ! -e /.below ]; then
        /sbin/modprobe -d /app -a ext4 overlay
        mount -t ext4 /dev/vdb /mnt
        mkdir -p /mnt/upper/.below /mnt/work /mnt/root /mnt/afresh
        mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
        for each in proc sys dev run app; do mount --rbind /$each /mnt/root/$each; done
        mkdir -p /mnt/root/var/lib/afresh /mnt/root/usr/lib/modules
        mount --bind /mnt/afresh /mnt/root/var/lib/afresh
        mount --bind /app/lib/modules /mnt/root/usr/lib/modules
        cd /mnt/root
        pivot_root . .below
        cd /
      fi
      exec /usr/lib/systemd/systemd.real "$@"
    END
    mode = "0755"
  }

  # Whoever tries the machine types here.
  file "/etc/systemd/system/shell.service" {
    content = <<-END
      [Unit]
      Description=A shell on the second serial line
      DefaultDependencies=no
      After=sysinit.target dbus.socket
      [Service]
      Environment=HOME=/root TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
      ExecStartPre=/bin/stty -F /dev/ttyS1 raw -echo
      ExecStart=/bin/sh
      StandardInput=tty-force
      StandardOutput=tty
      StandardError=tty
      TTYPath=/dev/ttyS1
      Restart=always
      IgnoreSIGPIPE=no
      [Install]
      WantedBy=multi-user.target
    END
  }

  script = <<-END
    set -eu
    mv /usr/lib/systemd/systemd /usr/lib/systemd/systemd.real
    mv /usr/lib/systemd/first /usr/lib/systemd/systemd
    systemctl enable shell.service
    systemctl mask getty@tty1.service serial-getty@ttyS0.service systemd-networkd-wait-online.service
  END
}

