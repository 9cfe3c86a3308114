image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "web" {
  tier  = "web"
  image = image.base
  run   = ["./web"]
  count = 1
  job "a" {}
  job "b" {
    schedule = "at night"
    timezone = "berlin"
    run      = []
    overlap  = "forbit"
    deadline = "1s"
    within   = "25h"
    retries  = 11
  }
  job "c" {
    schedule = "0 3 * *"
    timezone = "../../etc/passwd"
    run      = ["./c"]
    overlap  = "queue"
    at       = "3 am"
  }
  job "c" {
    schedule = "61 * * * *"
    timezone = "europe/Berlin"
    run      = ["./c"]
  }
  job "No Name" {
    schedule = "dayly"
    run      = ["./c"]
  }
  job {
    schedule = "daily"
    run      = ["./c"]
  }
  job = "daily"
}
