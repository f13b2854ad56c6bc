"""Serving the metrics to whoever scrapes them, in Prometheus' text format or OpenMetrics, whichever is asked for.

The server has a thread of its own: a scrape never delays the event loop, and a loop that hangs can still be seen to hang.
"""

from __future__ import annotations

import asyncio

import prometheus_client

import penstock
from penstock.telemetry import metrics


class MetricsServer:
    """`/metrics` at `host:port`; port 0 takes a free one. `start` once, `close` once."""

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)

    @property
    def address(self) -> str:
        """`host:port` as it is in use after `start`."""
        return f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Serve from now on. Raises OSError with the address when the port is taken."""
        metrics.BUILD_INFO.labels(version=penstock.__version__).set(1)
        host = self._host.strip("[]")
        try:
            self._server, self._thread = prometheus_client.start_http_server(self._port, addr=host, registry=metrics.REGISTRY)
        except OSError as error:
            raise OSError(f"can't listen at {self.address} for metrics: {error.strerror or error}") from error
        self._port = self._server.server_port

    async def close(self) -> None:
        """Return when the port is free again, within a second."""
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()
        self._thread.join()
