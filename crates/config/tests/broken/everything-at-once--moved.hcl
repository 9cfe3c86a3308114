image "base" { debian = "bookworm" packages = [] }
service "shop" { tier = "web" image = image.base run = ["./web"] count = 1 }
moved "x" { form = service.web  to = service.shop }
moved { from = "web"  to = shop }
moved { from = image.base  to = 3 }
moved { from = service.Web  to = service.shop.old }
moved {}
moved = service.web
move { from = service.web  to = service.shop }
