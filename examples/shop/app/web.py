"""The shop's web server: HTTP/1.1 on 0.0.0.0:$PORT with nothing but Python's own asyncio.

  GET  /healthz           200 when it can serve
  GET  /version           {"version": 1}
  GET  /hello?id=X        {"service": "web", "version": 1, "id": "X"}
  GET  /slow?ms=N&id=X    a chunked answer in pieces over N milliseconds; the last has the id and the version
  POST /orders            201 {"version": 1, "bytes": n, "sha256": "..."} of the body

On SIGTERM it takes no new connections, finishes every request it has begun to receive, answers each with
`Connection: close`, and exits with 0, at the latest after DRAIN_S.
"""

import asyncio
import hashlib
import json
import os
import signal
import sys
from urllib.parse import parse_qs

import http11
import release

DRAIN_S = float(os.environ.get("DRAIN_S", "8"))
SLOW_MS_MAX = 30_000
SLOW_PIECES = 5


class Shop:
    """What the server knows: its release, and what is going on."""

    def __init__(self, version, fault):
        self.version = version
        self.fault = fault
        self.asked = 0
        self.ending = False
        self.connections = set()

    def answer(self, request):
        """An answer, or a coroutine that gives the pieces of one."""
        path, _, query = request.target.partition("?")
        if path == "/hello" and request.method in ("GET", "HEAD"):
            if self.spoilt():
                return http11.text(500, "this release fails: it was made with that fault\n")
            name = query[3:] if query.startswith("id=") and "&" not in query and "%" not in query and "+" not in query else first(query, "id")
            return http11.json(200, {"service": "web", "version": self.version, "id": name})
        if path not in ROUTES:
            return http11.text(404, "nothing here\n")
        methods, serve = ROUTES[path]
        if request.method not in methods:
            return http11.text(405, "not that way\n", [("Allow", ", ".join(methods))])
        if path != "/healthz" and path != "/version" and self.spoilt():
            return http11.text(500, "this release fails: it was made with that fault\n")
        return serve(self, request, query)

    def spoilt(self):
        """A third of business requests, in a release that was made so."""
        if self.fault != "fails-under-traffic":
            return False
        self.asked += 1
        return self.asked % 3 == 0

    def healthz(self, _request, _query):
        if self.fault == "never-healthy":
            return http11.text(503, "never healthy: it was made with that fault\n")
        return http11.text(200, "ok\n")

    def tell_version(self, _request, _query):
        return http11.json(200, {"version": self.version})

    def orders(self, request, _query):
        said = {"version": self.version, "bytes": len(request.body), "sha256": hashlib.sha256(request.body).hexdigest()}
        return http11.json(201, said)

    def slow(self, _request, query):
        try:
            ms = int(first(query, "ms") or "100")
        except ValueError:
            ms = -1
        if not 0 <= ms <= SLOW_MS_MAX:
            return http11.text(400, f"ms is a number from 0 to {SLOW_MS_MAX}\n")
        return self.pieces(ms, first(query, "id"))

    async def pieces(self, ms, name):
        for n in range(SLOW_PIECES):
            yield f"piece {n + 1} of {SLOW_PIECES + 1}\n".encode()
            await asyncio.sleep(ms / 1000 / SLOW_PIECES)
        yield (json.dumps({"id": name, "version": self.version}) + "\n").encode()


ROUTES = {
    "/healthz": (("GET", "HEAD"), Shop.healthz),
    "/version": (("GET", "HEAD"), Shop.tell_version),
    "/hello": (("GET", "HEAD"), None),
    "/slow": (("GET", "HEAD"), Shop.slow),
    "/orders": (("POST",), Shop.orders),
}


def first(query, key):
    return parse_qs(query, keep_blank_values=True).get(key, [""])[0]


async def main():
    version, fault = release.read()
    if fault == "crash-loop":
        sys.exit("this release crashes: it was made with that fault")
    try:
        port = int(os.environ.get("PORT", "8080"))
    except ValueError:
        sys.exit(f"PORT={os.environ['PORT']!r} is no port")
    shop = Shop(version, fault)
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    server = await loop.create_server(lambda: http11.Connection(shop), "0.0.0.0", port, backlog=1024)
    print(f"web, version {version}, listens on {server.sockets[0].getsockname()[1]}", flush=True)
    await told.wait()

    shop.ending = True
    # Connections that the kernel has taken for us would be reset if the socket closed now, and what is in the others was sent
    # before anybody could know: a moment for both.
    await asyncio.sleep(0.05)
    server.close()
    for connection in list(shop.connections):
        connection.close_if_idle()
    deadline = loop.time() + DRAIN_S
    while shop.connections and loop.time() < deadline:
        await asyncio.sleep(0.02)
    print(f"ends, {len(shop.connections)} connections left", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
