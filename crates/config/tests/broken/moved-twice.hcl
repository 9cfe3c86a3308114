image "base" { debian = "bookworm" packages = [] }
service "shop" { tier = "web" image = image.base run = ["./web"] count = 1 }
moved { from = service.web  to = service.shop }
moved { from = service.web  to = service.store }
moved {
  from = service.old
  to   = "service.shop"
}
