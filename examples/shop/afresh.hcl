# A small shop: a worker that takes jobs, and a web server that answers customers.
# `afresh validate` tells every mistake in this file with its place; `afresh fmt` keeps it in this form.

# A machine image. `afresh bake` makes it from Debian's own packages, fully patched, and stores it by digest.
# The code is no part of it: each service brings its own, so that the two are patched apart.
image "base" {
  debian   = "bookworm"
  packages = ["ca-certificates", "python3"]
  rebuild  = "daily"  # patches arrive by themselves
  max_age  = "7d"     # an older one raises an alarm
}

service "worker" {
  tier     = "background"  # tiers are replaced in order; see the end of this file
  image    = image.base
  artifact = "app"                     # a directory or tarball; servers see it, read-only, at /app
  run      = ["python3", "worker.py"]  # in /app; no shell comes between
  count    = 2

  # No port, so health is a command: run inside the server, it must exit with 0.
  health {
    exec        = ["python3", "worker.py", "--check"]
    every       = "1s"
    timeout     = "5s"     # it starts a Python each time
    healthy_for = "500ms"  # healthy without a break for this time before it counts
  }

  # A server that is to end gets this signal and may finish its job.
  drain { signal = "TERM"  within = "10s" }

  limits { memory = "64MiB"  cpu = 0.5  pids = 32 }

  rollout {
    waves  = ["1", "100%"]
    soak   = "1s"
    within = "20s"
  }
}

service "web" {
  tier     = "web"
  image    = image.base
  artifact = "app"
  run      = ["python3", "web.py"]
  env      { PORT = 8080 }
  port     = 8080  # where the program listens, in a network of its own
  count    = 3

  health { path = "/healthz"  every = "200ms"  healthy_for = "500ms" }

  # A server leaves the balancer first; what is in flight to it may end before it gets the signal.
  drain { signal = "TERM"  within = "10s" }

  # Where customers come in. Only servers that the balancer itself found healthy get requests.
  route { listen = "127.0.0.1:8080" }

  # One new server first, then half of them, then all. After each wave customers are served for `soak`;
  # if more than `errors` of the new release's answers are failures, or a step takes longer than `within`,
  # the old release takes over again by itself.
  rollout {
    waves  = ["1", "50%", "100%"]
    soak   = "2s"
    errors = "1%"
    within = "20s"
  }
}

# Workers first, so that a job's new form is understood before anybody sends it.
rollout { tiers = ["background", "web"] }
