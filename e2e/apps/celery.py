"""Celery with Redis: each order that the web tier accepted becomes one task, which is begun once and done once, whatever is replaced meanwhile."""

import itertools
import json
import random
from collections import Counter

from load import Connection, Wrong
from stores import Redis
from world import free_port, until

OLD, NEW = "5.5.3", "5.6.3"


class Orders:
    """Numbers of orders go on from one load to the next."""

    def __init__(self):
        self.numbers = itertools.count(1)
        self.random = random.Random(9)

    def send(self, connection, _):
        number = next(self.numbers)
        # Some take longer than a server needs to end, so that a drain finds work in progress.
        takes_s = 6 if number % 25 == 0 else round(self.random.uniform(0.1, 0.8), 2)
        _, _, body = connection.send("POST", f"/orders/{number}?takes_s={takes_s}", want=(202,))
        if json.loads(body) != {"accepted": number}:
            raise Wrong(repr(body))
        return number


def play(world):
    port = free_port()
    redis = Redis(world)
    world.edit(("127.0.0.1:8082", f"127.0.0.1:{port}"), ("host:6379", f"host:{redis.port}"))
    world.secret("broker-url", redis.url)
    old, new = world.dir / OLD, world.dir / NEW
    world.version(old, OLD)
    world.version(new, NEW)
    world.begin()
    world.afresh("bake", quiet=False)
    world.deploy(old)
    orders, accepted = Orders(), []

    def under_load(what, act):
        world.begin_load(port, {"orders": orders.send}, rate=5)
        act()
        accepted.extend(world.end_load(what).accepted)
        account(world, redis, accepted, what)

    def roll_back():
        # The other way round: nobody sends a task in a form that only the new workers understand.
        world.afresh("rollback", "web", "--yes", quiet=False)
        world.afresh("rollback", "worker", "--yes", quiet=False)

    under_load(f"upgrade {OLD} to {NEW}, acks early", lambda: world.deploy(new))
    world.must("the new version serves", version(port) == NEW, NEW)
    under_load("rollback, acks early", roll_back)
    world.must("the old version serves", version(port) == OLD, OLD)
    world.edit(("BROKER_URL = secret.broker }", "BROKER_URL = secret.broker  ACKS_LATE = 1 }"))
    under_load("acks late switched on", lambda: world.deploy(old))
    under_load(f"upgrade {OLD} to {NEW}, acks late", lambda: world.deploy(new))


def version(port):
    return Connection(port).send("GET", "/healthz")[2].decode()


def account(world, redis, accepted, what):
    """Tasks that are queued are worked off first."""
    until("every accepted task is done", lambda: len(set(redis.rows("done"))) >= len(accepted))
    begun, done = (Counter(int(row.split()[0]) for row in redis.rows(name)) for name in ("begun", "done"))
    lost = sorted(set(accepted) - set(done))
    twice = sorted(number for number, times in (begun + done).items() if times > 2)
    foreign = sorted(set(done) - set(accepted))
    world.must(f"{what}: no task was lost or begun twice", not lost and not twice and not foreign and begun == done,
               f"{len(accepted)} accepted, {sum(begun.values())} begun, {sum(done.values())} done; lost {lost}, twice {twice}, foreign {foreign}")
