"""What Wagtail's production settings read last: where the database is, and what is secret. Values come from the service file."""

import os
from pathlib import Path

from .base import MIDDLEWARE

ALLOWED_HOSTS = ["*"]  # what the balancer passes on
MIDDLEWARE = [MIDDLEWARE[0], "whitenoise.middleware.WhiteNoiseMiddleware", *MIDDLEWARE[1:]]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}


def secret(name):
    return (Path("/run/secrets") / name).read_text().strip()


if "DATABASE_HOST" in os.environ:
    SECRET_KEY = secret("key")
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "wagtail",
            "USER": "wagtail",
            "PASSWORD": secret("database"),
            "HOST": os.environ["DATABASE_HOST"],
            "PORT": os.environ["DATABASE_PORT"],
        }
    }
else:
    SECRET_KEY = "for collectstatic alone"
