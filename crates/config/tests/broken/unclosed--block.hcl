image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  health {
    path = "/"
  count = 3

service "b" {
