"""WordPress with MariaDB: it is read and posted to while it is upgraded with its tables, and rolled back."""

import json
import os
import re
import secrets
import struct
import zlib
from urllib.parse import urlencode, urlsplit

from load import Connection, Wrong
from stores import MariaDB
from world import free_port

OLD, NEW = "bookworm", "trixie"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def install(port, password):
    """As whoever opens a new WordPress for the first time."""
    form = {"weblog_title": "Replaced, not changed", "user_name": "editor", "admin_password": password, "admin_password2": password,
            "admin_email": "editor@example.org", "Submit": "Install WordPress", "language": ""}
    _, _, body = Connection(port).send("POST", "/wp-admin/install.php?step=2", urlencode(form), FORM)
    if b"Success!" not in body:
        raise Wrong(repr(body[-2000:]))


def logged_in(port, password):
    """The headers of an editor's session."""
    connection = Connection(port)
    form = urlencode({"log": "editor", "pwd": password, "wp-submit": "Log In", "testcookie": "1"})
    said = {**FORM, "Cookie": "wordpress_test_cookie=WP%20Cookie%20check"}
    _, headers, _ = connection.send("POST", "/wp-login.php", form, said, want=(302,))
    cookies = "; ".join(line.split(";")[0] for line in headers.get_all("Set-Cookie", []))
    _, _, body = connection.send("GET", "/wp-admin/admin-ajax.php?action=rest-nonce", headers={"Cookie": cookies})
    return {"Cookie": cookies, "X-WP-Nonce": body.decode()}


class Blog:
    def __init__(self, session):
        self.session, self.uploads = session, {}

    def home(self, connection, _):
        _, _, body = connection.send("GET", "/")
        if b"Replaced, not changed" not in body:
            raise Wrong(repr(body[:200]))

    def feed(self, connection, _):
        _, _, body = connection.send("GET", "/?feed=rss2")
        if b"</rss>" not in body:
            raise Wrong(repr(body[:200]))

    def asset(self, connection, _):
        connection.send("GET", "/wp-includes/js/jquery/jquery.min.js")

    def write(self, connection, _):
        """An editor publishes a post, and it is there for everybody."""
        title = f"post-{secrets.token_hex(6)}"
        said = {**self.session, "Content-Type": "application/json"}
        post = json.dumps({"title": title, "content": f"<p>{title}</p>", "status": "publish"})
        _, _, body = connection.send("POST", "/?rest_route=/wp/v2/posts", post, said, want=(201,))
        _, _, body = connection.send("GET", f"/?p={json.loads(body)['id']}", want=(200,))
        if title.encode() not in body:
            raise Wrong(f"{title} is not on its page")
        return title

    def upload(self, connection, number):
        """An editor uploads a picture, and it is there for everybody, whichever server answers."""
        name = f"picture-{secrets.token_hex(6)}.png"
        said = {**self.session, "Content-Type": "image/png", "Content-Disposition": f'attachment; filename="{name}"'}
        picture = png(number)
        _, _, body = connection.send("POST", "/?rest_route=/wp/v2/media", picture, said, want=(201,))
        path = urlsplit(json.loads(body)["source_url"]).path
        if connection.send("GET", path)[2] != picture:
            raise Wrong(f"{path} is not what was uploaded")
        self.uploads[path] = picture


def png(number):
    """A picture that no other is equal to."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + secrets.token_bytes(3 * 32) for _ in range(32))
    header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"tEXt", b"number\0%d" % number) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def play(world):
    port = free_port()
    mariadb = MariaDB(world, "wordpress")
    world.edit(("127.0.0.1:8083", f"127.0.0.1:{port}"), ("3306", str(mariadb.port)))
    world.secret("database-password", mariadb.password)
    editor = world.password()
    old, new = world.dir / OLD, world.dir / NEW
    world.version(old, OLD)
    world.version(new, NEW)
    uploads = world.dir / "uploads"
    uploads.mkdir(mode=0o755)
    os.chown(uploads, 65534, 65534)
    world.edit(("/srv/wordpress-uploads", str(uploads)))
    world.begin(f'volume "{uploads}" {{ services = ["site"] }}\n')
    world.afresh("bake", quiet=False)
    world.deploy(old)
    install(port, editor)
    blog = Blog(logged_in(port, editor))
    kinds = {"pages": blog.home, "feeds": blog.feed, "assets": blog.asset, "posts": blog.write, "uploads": blog.upload}
    first, tables = version(port), table_version(mariadb)

    world.begin_load(port, kinds, rate=8)
    world.deploy(new)
    written = world.end_load(f"upgrade {OLD} to {NEW}").accepted
    second = version(port)
    world.must("the new version serves", second != first, f"{first}, then {second}")
    world.must("the upgrade changed the tables", table_version(mariadb) != tables, f"{tables}, then {table_version(mariadb)}")

    world.begin_load(port, kinds, rate=8)
    world.afresh("rollback", "site", "--yes", quiet=False)
    written += world.end_load("rollback").accepted
    world.must("the old version serves", version(port) == first, first)

    kept = set(mariadb.rows("SELECT post_title FROM wp_posts WHERE post_title LIKE 'post-%' AND post_status = 'publish' AND post_type = 'post'"))
    world.must("every post that was published is in the database, and no other", kept == set(written), f"{len(kept)} posts")
    connection = Connection(port)
    whole = [path for path, picture in blog.uploads.items() if connection.send("GET", path)[2] == picture]
    world.must("every uploaded picture is there, to the byte", len(whole) == len(blog.uploads) > 0, f"{len(whole)} pictures")


def version(port):
    return re.search(rb"\?v=([0-9.]+)</generator>", Connection(port).send("GET", "/?feed=rss2")[2])[1].decode()


def table_version(mariadb):
    return mariadb.rows("SELECT option_value FROM wp_options WHERE option_name = 'db_version'")[0]
