image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "x" {
  user = <<END
1000
