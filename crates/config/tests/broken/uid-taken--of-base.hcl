image "low" {
  debian   = "bookworm"
  packages = []
  user "eve" { uid = 1000 }
}
image "number" {
  base     = image.low
  packages = []
  user "adam" { uid = 1000 }
}
image "name" {
  base     = image.low
  packages = []
  user "eve" { uid = 1001 }
}
image "above" {
  base     = image.name
  packages = []
}
