"""Caddy, a static Go binary: two of its versions behind one route."""

from load import Wrong
from world import free_port

OLD, NEW = "2.10.2", "2.11.7"


def page(connection, _):
    _, _, body = connection.send("GET", "/")
    if b"comes out of the artifact" not in body:
        raise Wrong(repr(body[:100]))


def version(connection, _=0):
    return connection.send("GET", "/version.txt")[2].split()[0].decode().lstrip("v")


def echo(connection, number):
    said = f"request {number} ".encode() * 200
    if connection.send("POST", "/echo", said)[2] != said:
        raise Wrong("another body than was sent")


def play(world):
    port = free_port()
    world.edit(("127.0.0.1:8084", f"127.0.0.1:{port}"))
    old, new = world.dir / OLD, world.dir / NEW
    world.version(old, OLD)
    world.version(new, NEW)
    world.begin()
    world.afresh("bake", quiet=False)
    world.deploy(old)
    kinds = {"pages": page, "versions": version, "posts": echo}
    world.begin_load(port, kinds, rate=200)
    world.deploy(new)
    upgraded = world.end_load(f"upgrade {OLD} to {NEW}")
    world.must("both versions answered, the new one last", set(upgraded.accepted) == {OLD, NEW} and upgraded.accepted[-1] == NEW)
    world.begin_load(port, kinds, rate=200)
    world.afresh("rollback", "site", "--yes", quiet=False)
    back = world.end_load("rollback")
    world.must("the old version answers again", back.accepted[-1] == OLD)
