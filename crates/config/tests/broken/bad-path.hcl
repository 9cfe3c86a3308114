image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "s0" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  health { path = "healthz" }
}
service "s1" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  health { path = "http://web/healthz" }
}
service "s2" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  health { path = "/a b" }
}
service "s3" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  health { path = "/x#y" }
}
service "s4" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  health { path = "" }
}
service "t" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  count  = 3
  port   = 8080
  artifact = " "
}
