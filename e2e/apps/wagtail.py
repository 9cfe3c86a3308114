"""Wagtail with PostgreSQL: pages are read and written by editors while it is upgraded with its migrations, and rolled back."""

import re
import secrets
import threading
from urllib.parse import urlencode

from load import Connection, Wrong
from stores import Postgres
from world import free_port

OLD, NEW = "7.0.10", "7.1.3"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def token(body):
    return re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', body)[1].decode()


def cookies(headers):
    return dict(line.split(";")[0].split("=", 1) for line in headers.get_all("Set-Cookie", []))


def logged_in(port, password):
    """The headers of an editor's session."""
    connection = Connection(port)
    _, headers, body = connection.send("GET", "/admin/login/")
    jar = cookies(headers)
    form = urlencode({"csrfmiddlewaretoken": token(body), "username": "editor", "password": password, "next": "/admin/"})
    said = {**FORM, "Cookie": "; ".join(f"{k}={v}" for k, v in jar.items())}
    _, headers, _ = connection.send("POST", "/admin/login/", form, said, want=(302,))
    jar |= cookies(headers)
    session = {"Cookie": "; ".join(f"{k}={v}" for k, v in jar.items())}
    connection.send("GET", "/admin/", headers=session)
    return session


class Site:
    def __init__(self, port, session):
        self.port, self.session = port, session
        _, _, body = Connection(port, session).send("GET", "/admin/pages/add/home/homepage/3/")
        self.token = token(body)
        self.writing = threading.Lock()
        self.static = re.search(rb'"(/static/[^"]+\.css)"', Connection(port).send("GET", "/")[2])[1].decode()

    def home(self, connection, _):
        _, _, body = connection.send("GET", "/")
        if b"Welcome to your new Wagtail site" not in body:
            raise Wrong(repr(body[:200]))

    def search(self, connection, number):
        connection.send("GET", f"/search/?query=page-{number}")

    def asset(self, connection, _):
        connection.send("GET", self.static)

    def explorer(self, connection, _):
        _, _, body = connection.send("GET", "/admin/pages/3/", headers=self.session)
        if b"editor" not in body:
            raise Wrong("not logged in")

    def write(self, connection, _):
        """An editor publishes a page, and it is there for everybody. One at a time: of two at once, Wagtail gives both the same place in its tree of
        pages, and PostgreSQL refuses one, with or without Afresh."""
        slug = f"page-{secrets.token_hex(6)}"
        form = {"csrfmiddlewaretoken": self.token, "title": slug, "slug": slug, "seo_title": "", "search_description": "", "go_live_at": "",
                "expire_at": "", "comment_notifications": "", "action-publish": "action-publish",
                "comments-TOTAL_FORMS": 0, "comments-INITIAL_FORMS": 0, "comments-MIN_NUM_FORMS": 0, "comments-MAX_NUM_FORMS": ""}
        with self.writing:
            connection.send("POST", "/admin/pages/add/home/homepage/3/", urlencode(form), {**FORM, **self.session}, want=(302,))
        _, _, body = connection.send("GET", f"/{slug}/")
        if slug.encode() not in body:
            raise Wrong(f"{slug} is not on its page")
        return slug


def play(world):
    port = free_port()
    postgres = Postgres(world, "wagtail")
    world.edit(("127.0.0.1:8081", f"127.0.0.1:{port}"), ("5432", str(postgres.port)))
    world.secret("database-password", postgres.password)
    world.secret("secret-key", world.password())
    editor = world.password()
    world.secret("superuser-password", editor)
    old, new = world.dir / OLD, world.dir / NEW
    world.version(old, OLD)
    world.version(new, NEW)
    world.begin()
    world.afresh("bake", quiet=False)
    world.deploy(old)
    before = migrations(postgres)
    create = "DJANGO_SUPERUSER_PASSWORD=$(cat /run/secrets/superuser) python3 manage.py createsuperuser --noinput --username editor --email e@example.org"
    world.run("site", "sh", "-c", create)
    site = Site(port, logged_in(port, editor))
    kinds = {"pages": site.home, "searches": site.search, "assets": site.asset, "listings": site.explorer, "publications": site.write}

    world.begin_load(port, kinds, rate=8)
    world.deploy(new)
    written = world.end_load(f"upgrade {OLD} to {NEW}").accepted
    applied = migrations(postgres) - before
    world.must("the upgrade brought migrations", len(applied) > 0, ", ".join(sorted(applied)))
    world.must("the new version serves", version(world) == NEW, NEW)

    world.begin_load(port, kinds, rate=8)
    world.afresh("rollback", "site", "--yes", quiet=False)
    written += world.end_load("rollback").accepted
    world.must("the old version serves, over the new tables", version(world) == OLD and migrations(postgres) - before == applied, OLD)

    kept = set(postgres.rows("SELECT slug FROM wagtailcore_page WHERE slug LIKE 'page-%' AND live"))
    world.must("every page that was published is in the database, and no other", kept == set(written), f"{len(kept)} pages")


def migrations(postgres):
    return set(postgres.rows("SELECT app || '.' || name FROM django_migrations"))


def version(world):
    return world.run("site", "python3", "-c", "import wagtail; print(wagtail.__version__)").strip()
