# Every key there is.
image "base" { debian = "trixie"  packages = [] }
image "big" {
  debian = "bookworm"  packages = [
    # for TLS
    "ca-certificates", "g++",

    "libstdc++6"  # behind
    ,
  ]
  rebuild = "30 4 * * 1-5"
  max_age = "2d12h"
}
secret "db-url" { file = "/etc/shop/db-url" }
secret "api" { command = ["pass", "show", "shop/api"] }
secret "key" {
  age = "secrets/key.age"  # of the repository
}
service "web-2" { // one
  tier = "web" /* odd */ image = image.big
  artifact = "./dist"   run = ["sh", "-c", <<-END
      echo "$${HOME}"
        exec ./web
    END
  ]
  env {
    LOG = "info"
    N = 3
    DEBUG = false
    DATABASE_URL = secret.db-url
    DOLLAR = "$${x} %%{y} \"q\" \\ \u00e4"
  }
  secrets = [secret.key, secret.api]
  user = "1000:1000" port = 9000
  count = 10
  health { path = "/h?x=1" every = "250ms" timeout = "1.5s" healthy_for = "0s" unhealthy_after = 5 }
  drain { signal = "SIGINT" within = "1m30s" }
  limits { memory = "1g" cpu = "500m" pids = 64 scratch = "64MiB" }
  volume "uploads" { source = "/srv/uploads" at = "/uploads" }
  volume "fonts" { source = "/srv/fonts" at = "/usr/share/fonts" read_only = true }
  network { egress = ["10.0.0.0/8:5432", "DB.example.org:443", "[2001:DB8::/32]:8000-8010/udp"] allow = ["host:6379", service.job, "host:514/udp"] }
  route { listen = "[::1]:80" connect_timeout = "250ms" answer_timeout = "2m" }
  check "schema" { run = ["./check"] within = "1m" }
  check "smoke" { run = ["./smoke", "-v"] within = "30s" }
  migrate { run = ["./migrate", "--all"] within = "2h" }
  job "weekly" { schedule = "weekly"  run = ["./w"] }
  job "nightly" { schedule = "0  3 * * 1-5"  timezone = "Europe/Berlin"  run = ["./report", "-v"]  overlap = "replace"  deadline = "30m"  within = "10m"  retries = 3 }
  rollout { waves = ["1", "2", "50%", "10"] soak = "0s" errors = "0.05%" within = "1h" }
}
service "job" {
  tier = "back"
  image = image.base
  run = ["./job"]
  port = 7000  route { internal = true  port = 7001 }
  env = { A = "1", "B" : "2", "KEY" = secret.key
    C = "3" }
  count = 1 exclusive = true
  limits { cpu = 0.25 }
  network { egress = "none" }
}
moved { from = service.old-web  to = service.web-2 }
moved {  // over two steps
  from = "service.web"
  to = service.old-web
}
