image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image  = image.base
  run    = ["./web"]
  port   = 80 80
  count 3
  user: "1"
  artifact =
  "env" = {}
  = 5
  env { A = "1", B = "2" }
  limits "x" y = 5
}
}
"service" "b" { }
