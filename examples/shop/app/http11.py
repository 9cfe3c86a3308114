"""HTTP/1.1 for one connection, as an asyncio protocol. Knows nothing of the shop.

   head ──▶ body (length or chunks) ──▶ answer ──▶ head of the next request, which may be in the buffer already
     └─ wrong: an answer with Connection: close, then the end

Requests of one connection are answered one after the other; while one is being answered the socket is not read beyond a bound.
"""

import asyncio
import json as _json

HEAD_BYTES_MAX = 16 * 1024
HEADERS_MAX = 100
BODY_BYTES_MAX = 8 * 1024 * 1024
BUFFER_BYTES_MAX = 256 * 1024
IDLE_S = 75

REASONS = {
    200: "OK", 201: "Created", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
HEX = frozenset(b"0123456789abcdefABCDEF")
VISIBLE = frozenset(range(33, 127))


class Bad(Exception):
    """A request that is not understood: its status and why."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status = status


class Request:
    __slots__ = ("method", "target", "headers", "body", "keep", "length", "chunked", "expects", "old")


def text(status, body, headers=()):
    return status, "text/plain; charset=utf-8", body.encode(), headers


def json(status, body):
    return status, "application/json", _json.dumps(body).encode(), ()


def is_token(name):
    return bool(name) and TOKEN.issuperset(name)


def read_head(head):
    """A request without its body, from the bytes before the empty line."""
    lines = head.split(b"\r\n")
    parts = lines[0].split(b" ")
    if len(parts) != 3 or not is_token(parts[0]) or not parts[1]:
        raise Bad(400, "the first line is no request")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise Bad(505 if version.startswith(b"HTTP/") else 400, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if target[:7].lower() == b"http://":  # a proxy's form, which servers must take too
        target = b"/" + target[7:].partition(b"/")[2]
    if not target.startswith(b"/") or not VISIBLE.issuperset(target):
        raise Bad(400, "the target must be a path")
    if len(lines) - 1 > HEADERS_MAX:
        raise Bad(431, "too many headers")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not is_token(name) or b"\r" in value or b"\n" in value or b"\0" in value:
            raise Bad(400, "a header line is wrong")
        name, value = name.lower(), value.strip(b" \t")
        if name in headers:
            # These decide where a request ends: two answers to that are an attack.
            if name in (b"content-length", b"host") and headers[name] != value:
                raise Bad(400, f"two headers {name.decode()}")
            value = headers[name] if name in (b"content-length", b"host") else headers[name] + b", " + value
        headers[name] = value
    request = Request()
    request.method, request.target, request.headers = method.decode(), target.decode(), headers
    request.body = b""
    request.old = version == b"HTTP/1.0"
    framing(request, headers)
    return request


def framing(request, headers):
    """Where the request ends, and whether the connection goes on."""
    if not request.old and b"host" not in headers:
        raise Bad(400, "the header Host is missing")
    said = headers.get(b"connection", b"").lower()
    request.keep = (b"keep-alive" in said) if request.old else (b"close" not in said)
    request.expects = headers.get(b"expect", b"").lower() == b"100-continue" and not request.old
    coding = headers.get(b"transfer-encoding")
    length = headers.get(b"content-length")
    request.chunked = coding is not None
    request.length = 0
    if coding is not None:
        if length is not None or request.old:
            raise Bad(400, "Transfer-Encoding cannot stand beside Content-Length, nor in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise Bad(501, "only chunked is understood")
    elif length is not None:
        if not length.isdigit() or len(length) > 15:
            raise Bad(400, "Content-Length is no number")
        request.length = int(length)
        if request.length > BODY_BYTES_MAX:
            raise Bad(413, "the body is too large")


class Connection(asyncio.Protocol):
    def __init__(self, shop):
        self.shop = shop
        self.loop = asyncio.get_running_loop()
        self.buffer = bytearray()
        self.request = None
        self.chunks = None
        self.task = None
        self.transport = None
        self.timer = None
        self.paused = False
        self.ended = False
        self.eof = False
        self.writable = asyncio.Event()
        self.writable.set()

    # -- what asyncio calls

    def connection_made(self, transport):
        self.transport = transport
        self.shop.connections.add(self)
        self.seen = self.loop.time()
        self.timer = self.loop.call_later(IDLE_S, self.idle)

    def connection_lost(self, _error):
        self.shop.connections.discard(self)
        self.timer.cancel()
        self.ended = True
        self.writable.set()
        if self.task:
            self.task.cancel()

    def data_received(self, data):
        if self.ended:
            return
        self.seen = self.loop.time()
        self.buffer += data
        self.go_on()
        if self.busy() and len(self.buffer) > BUFFER_BYTES_MAX and not self.paused:
            self.paused = True
            self.transport.pause_reading()

    def eof_received(self):
        # The other side sends no more. What it asked for is still answered; half a request is not.
        self.eof = True
        return self.busy()

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()
        self.go_on()

    # -- requests

    def busy(self):
        """An answer is on its way, or the client does not read the last ones."""
        return self.task is not None or not self.writable.is_set()

    def idle(self):
        """Nothing was received for long: the client is gone, or plays for time."""
        rest_s = self.seen + IDLE_S - self.loop.time()
        if self.task is None and rest_s <= 0:
            self.transport.close()
        else:
            self.timer = self.loop.call_later(max(rest_s, 1), self.idle)

    def close_if_idle(self):
        """The server ends: a connection on which no request has begun is closed."""
        if self.task is None and self.request is None and not self.buffer:
            self.transport.close()

    def go_on(self):
        """Everything the buffer holds, until an answer takes time or bytes are missing."""
        try:
            while not self.busy() and not self.ended and self.received():
                request, self.request, self.chunks = self.request, None, None
                self.serve(request)
            if self.busy() or self.ended:
                return
            if self.eof:
                self.end()
            elif self.paused:
                self.paused = False
                self.transport.resume_reading()
        except Bad as bad:
            self.send(text(bad.status, f"{bad}\n"), head_only=False, keep=False)
        except Exception as error:  # a bug of ours is this request's 500, not everybody's end
            print(f"web: {error!r}", flush=True)
            self.send(text(500, "a fault of the server\n"), head_only=False, keep=False)

    def received(self):
        """True if the request at the front is whole. Takes it out of the buffer."""
        if self.request is None:
            while self.buffer[:2] == b"\r\n":  # RFC 9112, 2.2: empty lines before a request are let pass
                del self.buffer[:2]
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0 or end > HEAD_BYTES_MAX:
                if len(self.buffer) > HEAD_BYTES_MAX:
                    raise Bad(431, "the head is too large")
                if b"\n\n" in self.buffer:
                    raise Bad(400, "lines end with CR LF")
                return False
            head = bytes(self.buffer[:end])
            del self.buffer[:end + 4]
            self.request = read_head(head)
            if self.request.expects and (self.request.chunked or self.request.length > len(self.buffer)):
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if self.request.chunked:
                self.chunks = bytearray()
        if self.request.chunked:
            return self.chunks_received()
        length = self.request.length
        if len(self.buffer) < length:
            return False
        if length:
            self.request.body = bytes(self.buffer[:length])
            del self.buffer[:length]
        return True

    def chunks_received(self):
        while True:
            end = self.buffer.find(b"\r\n", 0, 1024)
            if end < 0:
                if len(self.buffer) >= 1024:
                    raise Bad(400, "a chunk's size is too long")
                return False
            digits = bytes(self.buffer[:end]).split(b";")[0].strip(b" \t")
            if not digits or len(digits) > 8 or not HEX.issuperset(digits):
                raise Bad(400, "a chunk's size is no number")
            size = int(digits, 16)
            if len(self.chunks) + size > BODY_BYTES_MAX:
                raise Bad(413, "the body is too large")
            if size == 0:
                return self.trailers_received(end)
            if len(self.buffer) < end + 2 + size + 2:
                return False
            if self.buffer[end + 2 + size:end + 4 + size] != b"\r\n":
                raise Bad(400, "a chunk does not end where it said")
            self.chunks += self.buffer[end + 2:end + 2 + size]
            del self.buffer[:end + 4 + size]

    def trailers_received(self, end):
        if self.buffer[end + 2:end + 4] == b"\r\n":
            stop = end + 4
        else:
            found = self.buffer.find(b"\r\n\r\n", end + 2)
            if found < 0:
                if len(self.buffer) > HEAD_BYTES_MAX:
                    raise Bad(431, "the trailers are too large")
                return False
            stop = found + 4
        del self.buffer[:stop]
        self.request.body = bytes(self.chunks)
        return True

    # -- answers

    def serve(self, request):
        answer = self.shop.answer(request)
        if isinstance(answer, tuple):
            self.send(answer, request.method == "HEAD", request.keep, request.old)
        else:
            self.task = self.loop.create_task(self.stream(request, answer))

    def keeps(self, keep):
        return keep and not self.shop.ending

    def send(self, answer, head_only, keep, old=False):
        status, kind, body, headers = answer
        keep = self.keeps(keep)
        more = "".join(f"{name}: {value}\r\n" for name, value in headers)
        if not keep:
            more += "Connection: close\r\n"
        elif old:
            more += "Connection: keep-alive\r\n"
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode()
        self.transport.write(head if head_only else head + body)
        if not keep:
            self.end()

    def end(self):
        if self.ended:
            return
        self.ended = True
        self.buffer.clear()
        if self.transport.can_write_eof():
            # Closing with bytes unread would reset the connection and lose the answer: first say that no more comes.
            self.transport.write_eof()
            self.loop.call_later(0.5, self.transport.close)
        else:
            self.transport.close()

    async def stream(self, request, pieces):
        """A chunked answer; HTTP/1.0 knows no chunks, there the end of the connection is the end of the answer."""
        keep = self.keeps(request.keep and not request.old)
        try:
            framing_line = "" if request.old else "Transfer-Encoding: chunked\r\n"
            close = "" if keep else "Connection: close\r\n"
            self.transport.write(f"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n{framing_line}{close}\r\n".encode())
            if request.method != "HEAD":
                async for piece in pieces:
                    await self.writable.wait()
                    self.transport.write(piece if request.old else b"%x\r\n%s\r\n" % (len(piece), piece))
                if not request.old:
                    self.transport.write(b"0\r\n\r\n")
        finally:
            await pieces.aclose()
            self.task = None
        # The server may have been told to end while this was sent: the head said the connection goes on, so it is only
        # closed if the client has sent nothing more, and else its next request is answered with Connection: close.
        if not keep:
            self.end()
            return
        self.go_on()
        if self.shop.ending:
            await asyncio.sleep(0.05)
            self.close_if_idle()
