image "a" {
  debian   = "bookworm"
  packages = []
  args     = { "a-b" = "x", "1A" = "x", PATH = "/bin", LD_PRELOAD = "x.so", LIST = ["x"], GOOD = 1 }
  script   = "true"
}
image "b" {
  debian   = "bookworm"
  packages = []
  args {
    A = "1"
    A = "2"
  }
  script = "true"
}
image "c" {
  debian    = "bookworm"
  packages  = []
  arguments = { A = "1" }
  script    = "true"
}
image "d" {
  debian   = "bookworm"
  packages = []
  args     = "A=1"
  script   = "true"
}
