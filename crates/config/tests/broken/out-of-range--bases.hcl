image "i0" {
  debian   = "bookworm"
  packages = []
}
image "i1" {
  base     = image.i0
  packages = []
}
image "i2" {
  base     = image.i1
  packages = []
}
image "i3" {
  base     = image.i2
  packages = []
}
image "i4" {
  base     = image.i3
  packages = []
}
image "i5" {
  base     = image.i4
  packages = []
}
image "i6" {
  base     = image.i5
  packages = []
}
image "i7" {
  base     = image.i6
  packages = []
}
image "i8" {
  base     = image.i7
  packages = []
}
