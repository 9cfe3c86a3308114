"""Verdaccio, a registry for npm packages: packages are published and fetched while it is upgraded and rolled back; none is lost."""

import base64
import hashlib
import io
import json
import os
import secrets
import subprocess
import tarfile

from load import Connection, Wrong
from world import free_port

OLD, NEW = "6.1.6", "6.4.0"


def packed(name):
    """The archive of a package of one file, as `npm pack` makes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, text in [("package.json", json.dumps({"name": name, "version": "1.0.0"})), ("index.js", f"module.exports = {name!r}")]:
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


class Registry:
    def __init__(self, port):
        self.port, self.packages = port, {}
        connection = Connection(port)
        user = {"name": "publisher", "password": secrets.token_urlsafe(12)}
        said = {"Content-Type": "application/json"}
        _, _, body = connection.send("PUT", "/-/user/org.couchdb.user:publisher", json.dumps(user), said, want=(201,))
        self.session = {**said, "Authorization": f"Bearer {json.loads(body)['token']}"}
        self.first = self.publish(connection, 0)

    def publish(self, connection, _):
        """As `npm publish` does: the package's description and its archive in one request."""
        name = f"package-{secrets.token_hex(6)}"
        archive = packed(name)
        file = f"{name}-1.0.0.tgz"
        version = {"name": name, "version": "1.0.0", "_id": f"{name}@1.0.0",
                   "dist": {"tarball": f"http://127.0.0.1:{self.port}/{name}/-/{file}", "shasum": hashlib.sha1(archive).hexdigest(),
                            "integrity": f"sha512-{base64.b64encode(hashlib.sha512(archive).digest()).decode()}"}}
        attached = {file: {"content_type": "application/octet-stream", "data": base64.b64encode(archive).decode(), "length": len(archive)}}
        body = {"_id": name, "name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}, "_attachments": attached}
        connection.send("PUT", f"/{name}", json.dumps(body), self.session, want=(201,))
        self.packages[name] = archive
        return name

    def describe(self, connection, _):
        _, _, body = connection.send("GET", f"/{self.first}")
        if json.loads(body)["dist-tags"]["latest"] != "1.0.0":
            raise Wrong(repr(body[:200]))

    def fetch(self, connection, _, name=None):
        name = name or self.first
        if connection.send("GET", f"/{name}/-/{name}-1.0.0.tgz")[2] != self.packages[name]:
            raise Wrong(f"the archive of {name} is another than was published")

    def kinds(self):
        return {"descriptions": self.describe, "archives": self.fetch, "published": self.publish}

    def is_complete(self):
        connection = Connection(self.port)
        for name in self.packages:
            self.fetch(connection, 0, name)
        return len(self.packages)


def installed(world, registry):
    """What npm itself makes of a package that was published."""
    name = list(registry.packages)[-1]
    place = world.dir / "installed"
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", f"--registry=http://127.0.0.1:{registry.port}",
               f"--cache={world.dir}/npm", "--prefix", place, name]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return (place / "node_modules" / name / "index.js").read_text() == f"module.exports = {name!r}"


def play(world):
    port = free_port()
    storage = world.dir / "storage"
    storage.mkdir()
    os.chown(storage, 2001, 2001)
    world.edit(("127.0.0.1:8085", f"127.0.0.1:{port}"), ("/srv/verdaccio", str(storage)))
    old, new = world.dir / OLD, world.dir / NEW
    world.version(old, OLD)
    world.version(new, NEW)
    world.begin(f'volume "{storage}" {{ services = ["registry"] }}\n')
    world.afresh("bake", quiet=False)
    world.deploy(old)
    registry = Registry(port)
    world.begin_load(port, registry.kinds(), rate=60)
    world.deploy(new)
    world.end_load(f"upgrade {OLD} to {NEW}")
    world.begin_load(port, registry.kinds(), rate=60)
    world.afresh("rollback", "registry", "--yes", quiet=False)
    world.end_load("rollback")
    world.must("each package that was published is there, byte for byte", registry.is_complete(), f"{len(registry.packages)} packages")
    world.must("npm installs one", installed(world, registry))
