"""The sinks: each store's writer behind a gRPC server of its own."""

from __future__ import annotations

import contextlib
import pathlib

import pyarrow as pa

from penstock.api.model import sinks as api_sinks
from penstock.core import failpoints
from penstock.machine import control, secrets
from penstock.machine.peers import gate
from penstock.sinks import port as sinks_port
from penstock.sinks import registry, server

_GRACE_SECONDS = 25.0


class Stores:
    """`open` each sink, then `close`. Relative paths of stores begin at the folder the process was started in."""

    def __init__(self, secret_store: secrets.SecretStore, failpoint: failpoints.Failpoint, peers: gate.Peers) -> None:
        self._secrets, self._failpoint, self._peers = secret_store, failpoint, peers
        self.grace_seconds = _GRACE_SECONDS
        """How long `close` waits for the writes under way."""
        self._stack = contextlib.AsyncExitStack()
        self._writers: dict[str, sinks_port.SinkWriter] = {}
        self.addresses: dict[str, str] = {}
        """Where each sink is served, by its name."""

    async def open(self, sink: api_sinks.Sink, address: str) -> None:
        """Serve the sink at `address`. Raises SinkError, OSError, OpenDoorError when it would be open to everybody."""
        self._peers.check(address, f"the sink {sink.name}")
        writer = registry.open_writer(sink, directory=pathlib.Path.cwd(), secrets=self._secrets.value, failpoint=self._failpoint)
        self._stack.push_async_callback(writer.close)
        local = address.startswith("unix:")
        served = server.SinkServer(
            writer,
            sink_type=sink.type,
            address=address,
            interceptors=() if local else self._peers.interceptors(),
            credentials=None if local else self._peers.server_credentials(),
        )
        await served.start()
        self._stack.push_async_callback(self._close, served)
        self._writers[sink.name], self.addresses[sink.name] = writer, served.address

    async def query(self, sink: str, sql: str) -> pa.Table:
        """Raises KeyError for a sink that is not served here, QueryRefusedError."""
        chosen = sink or next(iter(self._writers), "")
        if chosen not in self._writers:
            raise KeyError(f'no sink "{sink}" is served here; there are: {", ".join(self._writers) or "none"}')
        try:
            return await self._writers[chosen].query(sql)
        except sinks_port.SinkError as error:
            raise control.QueryRefusedError(error.failure.message) from error

    async def _close(self, served: server.SinkServer) -> None:
        await served.close(grace_seconds=self.grace_seconds)

    async def close(self) -> None:
        """Take no new writes, wait for those under way, and close the stores."""
        await self._stack.aclose()
