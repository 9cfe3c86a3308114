# What the control plane's container image is made of, besides the program: `make dist`.
image "control-plane" {
  debian   = "bookworm"
  packages = ["apt", "ca-certificates", "erofs-utils", "mount", "util-linux"]
}
