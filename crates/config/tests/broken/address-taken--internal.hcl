image "base" { debian = "bookworm"  packages = [] }
service "a" { tier = "web"  image = image.base  run = ["./web"]  count = 2  port = 8080  route { internal = true } }
service "b" { tier = "web"  image = image.base  run = ["./web"]  count = 2  port = 8080  route { internal = true } }
service "c" { tier = "web"  image = image.base  run = ["./web"]  count = 2  port = 8080  route { listen = ":8080" } }
