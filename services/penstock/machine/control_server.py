"""Where `penstock.v1.Control` and gRPC's health service are listened to: the data directory's socket, an address, or both."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from penstock.machine import control
from penstock.v1 import control_pb2_grpc

_LOOK_SECONDS = 0.5


class ControlServer:
    """`start` once, `close` once. Its health is what `why_not_ready` says: serving when that is empty."""

    def __init__(self, servicer: control.ControlServicer, why_not_ready: Callable[[], str]) -> None:
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        self._health = health.aio.HealthServicer()
        control_pb2_grpc.add_ControlServicer_to_server(servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._why_not_ready = why_not_ready
        self._watching: asyncio.Task[None] | None = None
        self.address: str | None = None
        """The address in use, with the port that was found."""

    async def start(self, socket: pathlib.Path | None, address: str | None) -> None:
        """Raises OSError when the address is taken."""
        if socket is not None:
            self._bind(socket)
        if address is not None:
            try:
                bound = self._server.add_insecure_port(address)
            except RuntimeError as error:
                raise OSError(f"can't listen at {address} for control: {error}") from error
            self.address = f"{address.rpartition(':')[0]}:{bound}"
        await self._server.start()
        if socket is not None:
            _only_for_its_owner(socket)
        self._watching = asyncio.create_task(self._watch())

    def _bind(self, socket: pathlib.Path) -> None:
        socket.unlink(missing_ok=True)
        self._server.add_insecure_port(f"unix:{socket}")

    async def _watch(self) -> None:
        while True:
            serving = health_pb2.HealthCheckResponse.SERVING
            await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING if self._why_not_ready() else serving)
            await asyncio.sleep(_LOOK_SECONDS)

    async def close(self) -> None:
        if self._watching:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching
        await self._server.stop(0.5)


def _only_for_its_owner(socket: pathlib.Path) -> None:
    socket.chmod(0o600)
