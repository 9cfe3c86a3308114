# Verdaccio, a registry for npm packages: a Node server that keeps what is published in a volume.

image "node" {
  debian   = "bookworm"
  packages = ["ca-certificates", "nodejs"]

  user "verdaccio" { uid = 2001 }
}

service "registry" {
  tier     = "web"
  image    = image.node
  artifact = "app"  # made by ./make-version.sh app 6.1.6
  run      = ["node", "node_modules/verdaccio/bin/verdaccio", "--config", "config.yaml", "--listen", "http://0.0.0.0:4873"]
  user     = "2001:2001"
  env      { NODE_ENV = "production" }
  port     = 4873

  # Its storage on disk is made for one server; while one is replaced, both have it, and lock each file that they write.
  count = 1
  volume "storage" { source = "/srv/verdaccio"  at = "/var/lib/verdaccio" }

  # Packages come from its storage alone.
  network { egress = "none" }

  health { path = "/-/ping"  every = "500ms"  timeout = "5s"  healthy_for = "2s" }
  route  { listen = "127.0.0.1:8085" }
  drain  { within = "20s" }
  limits { memory = "512MiB" }

  rollout {
    soak   = "5s"
    within = "3m"
  }
}
