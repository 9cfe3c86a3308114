image "self" {
  base     = image.self
  packages = []
}
image "a" {
  base     = image.b
  packages = []
}
image "b" {
  base     = image.a
  packages = []
}
image "above" {
  base     = image.a
  packages = []
}
