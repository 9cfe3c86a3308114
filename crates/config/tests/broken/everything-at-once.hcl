imgae "base" {
  debian = "bookworm"
}

service "Web" {
  teir   = "web"
  image  = image.base
  run    = "python3 web.py"
  port   = 808080
  count  = 3
  health { pth = "healthz"  every = "5" }
  rollout {
    waves  = ["50%", "1%"]
    errors = "200%"
  }
}
