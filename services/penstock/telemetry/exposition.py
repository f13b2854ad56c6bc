"""Serving the metrics to whoever scrapes them, in Prometheus' text format or OpenMetrics, whichever is asked for; beside them
`/livez` and `/readyz`, which answer 200, or 503 with the reason.

The server has a thread of its own: a scrape never delays the event loop, and a loop that hangs can still be seen to hang.
"""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from wsgiref import simple_server

import prometheus_client

import penstock
from penstock.telemetry import metrics

if TYPE_CHECKING:
    from _typeshed import wsgi

_Why = Callable[[], str]


class _Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True


class _Handler(simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the standard library
        """A scrape is no event."""


def _server_for(host: str) -> type[_Server]:
    """The server class that listens in the family of this address."""
    family = socket.getaddrinfo(host, None)[0][0]
    return type("_ServerOfFamily", (_Server,), {"address_family": family})


def _never() -> str:
    return ""


class MetricsServer:
    """`/metrics` at `host:port`; port 0 takes a free one. `start` once, `close` once.

    `alive` and `ready` say why the process is not, and nothing when it is; they are called by the server's threads.
    """

    def __init__(self, address: str, *, alive: _Why = _never, ready: _Why = _never) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._probes = {"/livez": alive, "/readyz": ready}
        self._metrics = prometheus_client.make_wsgi_app(metrics.REGISTRY)

    @property
    def address(self) -> str:
        """`host:port` as it is in use after `start`."""
        return f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Serve from now on. Raises OSError with the address when the port is taken."""
        metrics.BUILD_INFO.labels(version=penstock.__version__).set(1)
        host = self._host.strip("[]")
        try:
            self._server = simple_server.make_server(host, self._port, self._answer, _server_for(host), _Handler)
        except OSError as error:
            raise OSError(f"can't listen at {self.address} for metrics: {error.strerror or error}") from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()
        self._port = self._server.server_port

    def _answer(self, environ: wsgi.WSGIEnvironment, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        probe = self._probes.get(environ.get("PATH_INFO", ""))
        if probe is None:
            shown: Iterable[bytes] = self._metrics(environ, start_response)
            return shown
        why = probe()
        start_response("503 Service Unavailable" if why else "200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{why or 'ok'}\n".encode()]

    async def close(self) -> None:
        """Return when the port is free again, within a second."""
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()
        self._thread.join()
