"""Where `penstock.v1.Control` and gRPC's health service are listened to: the data directory's socket, an address, or both."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from collections.abc import Callable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from penstock.machine.peers import gate
from penstock.v1 import control_pb2_grpc

_LOOK_SECONDS = 0.5


class ControlServer:
    """`start` once, `close` once. Its health is what `why_not_ready` says: serving when that is empty."""

    def __init__(self, servicer: control_pb2_grpc.ControlServicer, why_not_ready: Callable[[], str], peers: gate.Peers) -> None:
        """`peers` says who may ask at an address; the socket is its owner's anyway."""
        self._servicer, self._peers = servicer, peers
        self._health = health.aio.HealthServicer()
        self._servers: list[grpc.aio.Server] = []
        self._why_not_ready = why_not_ready
        self._watching: asyncio.Task[None] | None = None
        self.address: str | None = None
        """The address in use, with the port that was found."""

    async def start(self, socket: pathlib.Path | None, address: str | None) -> None:
        """Raises OSError when the address is taken, OpenDoorError when it would be open to everybody."""
        if address is not None:
            self._peers.check(address, "the control server")
            self.address = self._bind(address)
        if socket is not None:
            self._bind_socket(socket)
        for server in self._servers:
            await server.start()
        if socket is not None:
            _only_for_its_owner(socket)
        self._watching = asyncio.create_task(self._watch())

    def _bind_socket(self, socket: pathlib.Path) -> None:
        socket.unlink(missing_ok=True)
        self._new_server().add_insecure_port(f"unix:{socket}")

    def _bind(self, address: str) -> str:
        server, credentials = self._new_server(self._peers.interceptors()), self._peers.server_credentials()
        try:
            bound = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"can't listen at {address} for control: {error}") from error
        return f"{address.rpartition(':')[0]}:{bound}"

    def _new_server(self, interceptors: Sequence[grpc.aio.ServerInterceptor] = ()) -> grpc.aio.Server:
        server = grpc.aio.server(options=(("grpc.so_reuseport", 0),), interceptors=list(interceptors))
        control_pb2_grpc.add_ControlServicer_to_server(self._servicer, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._servers.append(server)
        return server

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
        for server in self._servers:
            await server.stop(0.5)


def _only_for_its_owner(socket: pathlib.Path) -> None:
    socket.chmod(0o600)
