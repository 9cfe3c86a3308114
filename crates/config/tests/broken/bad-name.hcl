image "Base" {
  debian = "bookworm"
  packages = []
}
image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "Web Shop" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
}
service "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
}
service "a" {
  tier = "2nd"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
}
service "b" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  env { "A.B" = 1 }
}
