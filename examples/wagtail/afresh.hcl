# Wagtail, a Django application, with PostgreSQL on this host.

image "python" {
  debian   = "bookworm"
  packages = ["ca-certificates", "python3"]
}

# Each of these files holds a value and nothing else, and only you may read it (mode 0600).
secret "database" { file = "database-password" }
secret "key" { file = "secret-key" }
secret "superuser" { file = "superuser-password" }

service "site" {
  tier     = "web"
  image    = image.python
  artifact = "app"  # made by ./make-version.sh app 7.0.10
  run      = ["python3", "-m", "gunicorn", "--bind", "0.0.0.0:8000", "--workers", "2", "--threads", "4", "--worker-tmp-dir", "/dev/shm", "mysite.wsgi"]

  env {
    PYTHONPATH             = "/app/lib"
    PYTHONUNBUFFERED       = 1
    DJANGO_SETTINGS_MODULE = "mysite.settings.production"
    DATABASE_HOST          = "host.internal"
    DATABASE_PORT          = 5432
  }
  secrets = [secret.database, secret.key, secret.superuser]

  port  = 8000
  count = 2

  # It may reach PostgreSQL on this host, and nothing else.
  network { egress = "none"  allow = ["host:5432"] }

  # Once for each release, before its first server. The old release serves meanwhile, and does so over the new tables.
  migrate { run = ["python3", "manage.py", "migrate", "--noinput"]  within = "10m" }

  health { path = "/"  every = "1s"  timeout = "5s"  healthy_for = "2s" }
  route  { listen = "127.0.0.1:8081" }
  drain  { within = "30s" }
  limits { memory = "512MiB" }

  rollout {
    waves  = ["1", "100%"]
    soak   = "5s"
    within = "3m"
  }
}
