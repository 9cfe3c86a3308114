image "base" { debian = "bookworm" packages = [] }
service "shop" { tier = "web" image = image.base run = ["./web"] count = 1 }
moved { from = service.a  to = service.b }
moved { from = service.b  to = service.a }
moved { from = service.c  to = service.a }
