image "a" {
  debian   = "bookworm"
  packages = []
  check "ssh" {
    port = 22
    file = "/usr/sbin/sshd"
  }
}
