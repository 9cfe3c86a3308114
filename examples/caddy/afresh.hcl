# Caddy as it is published: one static binary, which needs nothing of its image but certificates.

image "bare" {
  debian   = "bookworm"
  packages = ["ca-certificates"]
}

service "site" {
  tier     = "web"
  image    = image.bare
  artifact = "app"  # made by ./make-version.sh app 2.10.2
  run      = ["/app/caddy", "run", "--config", "/app/Caddyfile"]

  # Caddy keeps its state below these; a server's own /tmp is enough, as nothing in it is needed again.
  env { XDG_CONFIG_HOME = "/tmp/config"  XDG_DATA_HOME = "/tmp/data" }

  port  = 8080
  count = 2

  health { path = "/version.txt"  every = "500ms"  healthy_for = "1s" }
  route  { listen = "127.0.0.1:8084" }

  # Caddy answers what it has accepted when it gets TERM.
  drain { within = "20s" }

  # It serves files, and talks to nobody.
  network { egress = "none" }

  limits { memory = "128MiB" }

  rollout {
    waves = ["1", "100%"]
    soak  = "3s"
  }
}
