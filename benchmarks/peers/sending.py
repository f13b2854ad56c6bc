"""The client of the jobs that take requests: a file of events over HTTP, 2,000 a request, some connections at once.

It runs in the harness's process, so nobody is charged for it.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import itertools
import pathlib
import queue
import urllib.parse
from collections.abc import Iterator

from benchmarks.peers import process

_AT_ONCE = 2_000
_CONNECTIONS = 16
_SECONDS = 120.0


def post(url: str, events: pathlib.Path) -> None:
    """Return when every request was answered with 2xx. Raises ContenderError."""
    target = urllib.parse.urlsplit(url)
    bodies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    for body in itertools.chain(_bodies(events), [None] * _CONNECTIONS):
        bodies.put(body)

    def client() -> None:
        connection = http.client.HTTPConnection(target.netloc, timeout=_SECONDS)
        while (body := bodies.get()) is not None:
            connection.request("POST", target.path, body, {"Content-Type": "application/x-ndjson"})
            answer = connection.getresponse()
            told = answer.read()
            if answer.status // 100 != 2:
                raise process.ContenderError(f"{url} answered {answer.status}: {told[:300]!r}")
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(_CONNECTIONS) as clients:
        for done in [clients.submit(client) for _ in range(_CONNECTIONS)]:
            done.result()


def _bodies(events: pathlib.Path) -> Iterator[bytes]:
    with events.open("rb") as lines:
        while body := b"".join(itertools.islice(lines, _AT_ONCE)):
            yield body
