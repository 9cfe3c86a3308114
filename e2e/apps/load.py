"""A client that sends requests until it is stopped and accounts for each: sent, answered as it must be, or failed and why.

Requests are never repeated. Each thread keeps one connection; a request on one that the server has closed counts as failed, as it would for a user.
"""

import http.client
import threading
import time
from collections import Counter

TIMEOUT_S = 60


class Wrong(Exception):
    """An answer that is not what it must be."""


class Connection:
    """One kept connection; headers of a session go with each request."""

    def __init__(self, port, headers=None):
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        self.headers = headers or {}

    def send(self, method, path, body=None, headers=None, want=(200,)):
        """The answer's status, headers and body, if the status is one of `want`."""
        try:
            self.http.request(method, path, body, {**self.headers, **(headers or {})})
            answer = self.http.getresponse()
            data = answer.read()
        except BaseException:
            self.http.close()
            raise
        if answer.status not in want:
            raise Wrong(f"{method} {path}: {answer.status}, not {want}: {data[:200]!r}")
        return answer.status, answer.headers, data


class Load:
    """Threads that call `kinds` (name: function of a connection and a number) one after the other, `rate` requests a second in all."""

    def __init__(self, port, kinds, rate, threads=4, headers=None):
        self.kinds = list(kinds.items())
        self.pause_s = threads / rate
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.number = 0
        self.sent, self.failures, self.accepted = Counter(), [], []
        self.slowest_s = 0.0
        self.begun = time.monotonic()
        self.threads = [threading.Thread(target=self.work, args=(Connection(port, headers),), daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def work(self, connection):
        due = time.monotonic()
        while not self.stopped.is_set():
            with self.lock:
                self.number += 1
                number = self.number
            name, function = self.kinds[number % len(self.kinds)]
            begun = time.monotonic()
            try:
                result, failure = function(connection, number), None
            except Exception as error:  # whatever it is, the request failed
                result, failure = None, f"{type(error).__name__}: {error}"
            took = time.monotonic() - begun
            with self.lock:
                self.sent[name] += 1
                self.slowest_s = max(self.slowest_s, took)
                if failure:
                    self.failures.append((round(begun - self.begun, 3), name, failure))
                elif result is not None:
                    self.accepted.append(result)
            due = max(due + self.pause_s, time.monotonic() - 1)
            self.stopped.wait(due - time.monotonic())

    def finish(self):
        """Ends after the requests that are open. Returns the account."""
        self.stopped.set()
        for thread in self.threads:
            thread.join(2 * TIMEOUT_S)
            if thread.is_alive():
                raise RuntimeError("a request neither ended nor failed")
        return self

    def __str__(self):
        kinds = ", ".join(f"{count} {name}" for name, count in sorted(self.sent.items()))
        return f"{sum(self.sent.values())} requests ({kinds}), {len(self.failures)} failed, slowest {self.slowest_s:.1f} s"
