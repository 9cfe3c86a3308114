# Celery with Redis on this host: a web tier that takes orders and queues a task for each, and a worker tier that carries them out.

image "python" {
  debian   = "bookworm"
  packages = ["ca-certificates", "python3"]
}

# redis://:PASSWORD@host.internal:6379/0, in a file that only you may read (mode 0600).
secret "broker" { file = "broker-url" }

service "worker" {
  tier     = "background"
  image    = image.python
  artifact = "app"  # made by ./make-version.sh app 5.5.3
  run      = ["python3", "-m", "celery", "--app", "tasks", "worker", "--concurrency", "2", "--loglevel", "INFO"]
  env      { PYTHONPATH = "/app/lib"  PYTHONUNBUFFERED = 1  BROKER_URL = secret.broker }
  count    = 2
  network  { egress = "none"  allow = ["host:6379"] }

  # Celery begins a warm shutdown at TERM: it takes no more tasks, gives those that wait back to the broker, and ends when what it runs is done.
  drain { signal = "TERM"  within = "1m" }

  health {
    exec    = ["sh", "-c", "python3 -m celery --app tasks inspect ping --timeout 10 --destination celery@$(hostname)"]
    every   = "10s"
    timeout = "20s"
  }
  limits { memory = "384MiB" }

  rollout {
    waves  = ["1", "100%"]
    soak   = "5s"
    within = "3m"
  }
}

service "web" {
  tier     = "web"
  image    = image.python
  artifact = "app"
  run      = ["python3", "-m", "gunicorn", "--bind", "0.0.0.0:8000", "--workers", "1", "--threads", "4", "--worker-tmp-dir", "/dev/shm", "web:app"]
  env      { PYTHONPATH = "/app/lib"  PYTHONUNBUFFERED = 1  BROKER_URL = secret.broker }
  port     = 8000
  count    = 2
  network  { egress = "none"  allow = ["host:6379"] }
  health   { path = "/healthz"  every = "1s"  timeout = "5s"  healthy_for = "2s" }
  route    { listen = "127.0.0.1:8082" }
  drain    { within = "30s" }
  limits   { memory = "256MiB" }

  rollout {
    waves  = ["1", "100%"]
    soak   = "5s"
    within = "3m"
  }
}

# Workers first: they understand the new form of a task before anybody sends it.
rollout { tiers = ["background", "web"] }
