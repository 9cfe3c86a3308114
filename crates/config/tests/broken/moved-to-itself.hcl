image "base" { debian = "bookworm" packages = [] }
service "shop" { tier = "web" image = image.base run = ["./web"] count = 1 }
moved { from = service.shop  to = service.shop }
