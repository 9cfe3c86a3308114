immage "base" {}
