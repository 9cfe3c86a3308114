image "a" {
  debian   = "bookworm"
  packages = []
  file "/a" {
    content = ""
    mode    = "rw-r--r--"
  }
  file "/b" {
    content = ""
    mode    = 0644
  }
  file "/c" {
    content = ""
    mode    = "0o644"
  }
  file "/d" {
    content = ""
    mode    = "1000755"
  }
}
