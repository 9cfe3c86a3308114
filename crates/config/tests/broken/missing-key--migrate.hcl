image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "a" {
  tier    = "web"
  image   = image.base
  run     = ["./web"]
  count   = 1
  migrate {}
}
service "b" {
  tier    = "web"
  image   = image.base
  run     = ["./web"]
  count   = 1
  migrate {
    run     = "./migrate"
    within  = "25h"
    retries = 3
  }
  migrate {
    run    = []
    within = "500ms"
  }
}
service "c" {
  tier    = "web"
  image   = image.base
  run     = ["./web"]
  count   = 1
  migrate = ["./migrate"]
}
service "d" {
  tier    = "web"
  image   = image.base
  run     = ["./web"]
  count   = 1
  migrate "schema" {
    run    = [""]
    within = "1m"
  }
}
