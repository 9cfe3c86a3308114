image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier   = "web"
  image = "base"
  run = "python3 web.py"
  count = "3"
  port = "http"
  user = true
  artifact = 5
  health { exec = "python3 check.py --fast"  tcp = "yes"  unhealthy_after = "3" }
  env = ["A=1"]
  limits { pids = 1.5 }
}
