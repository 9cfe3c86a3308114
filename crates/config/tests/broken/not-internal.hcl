image "base" { debian = "bookworm"  packages = [] }
service "web" {
  tier = "web"  image = image.base  run = ["./web"]  count = 2
  network { allow = [service.api, service.worker, service.inside, service.elsewhere] }
}
service "api" { tier = "web"  image = image.base  run = ["./web"]  count = 2  port = 8080  route { listen = ":8080" } }
service "worker" { tier = "web"  image = image.base  run = ["./web"]  count = 2 }
service "inside" { tier = "web"  image = image.base  run = ["./web"]  count = 2  port = 8080  route { internal = true  port = 7000 } }
