"""The gRPC server in front of a store: `penstock.v1.Sink` over a `SinkWriter`.

It retries nothing and promises nothing the writer has not: a result means durable rows, and whatever else happens is
answered as a failure with a class. A call that ends early (deadline, a client that is gone) never leaves half a write: a
write that has begun ends by itself, one that has not is dropped.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from concurrent import futures

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from penstock.sinks import port, service
from penstock.v1 import sink_pb2, sink_pb2_grpc

_log = structlog.get_logger()

_SERVICE = sink_pb2.DESCRIPTOR.services_by_name["Sink"].full_name

# Chunks are 4 MiB at most; the rest is room for their framing and for a header with many ranges.
_MESSAGE_BYTES = 8 * 1024 * 1024

_OPTIONS = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    # Two servers on one port would share its calls at random instead of failing.
    ("grpc.so_reuseport", 0),
    # Clients ping every 30 s; by default a server takes more than one in 5 minutes for an attack.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

# What the kernel's address structure holds; gRPC cuts a longer path in its own way.
_SOCKET_PATH_BYTES = 107


class SinkServer:
    """Serves one writer at `address`: "unix:/path/sink.sock", or "127.0.0.1:0" for a free port.

    `max_write_bytes` bounds the Arrow stream of one write, and with it the memory a client can take.
    """

    def __init__(
        self,
        writer: port.SinkWriter,
        *,
        sink_type: str,
        address: str,
        max_write_bytes: int = 256 * 1024 * 1024,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        """`interceptors` say who may call; without `credentials` it speaks plain text."""
        self._address = address
        self._decoder = futures.ThreadPoolExecutor(1, thread_name_prefix="sink-decode")
        self._service = service.SinkService(writer, sink_type=sink_type, decoder=self._decoder, max_write_bytes=max_write_bytes)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(options=_OPTIONS, interceptors=list(interceptors))
        self._credentials = credentials

    @property
    def address(self) -> str:
        """Where clients reach it; with the port that was found once it has started."""
        return self._address

    async def start(self) -> None:
        """Listen. Raises OSError with the address when that is not possible."""
        sink_pb2_grpc.add_SinkServicer_to_server(self._service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._bind()
        await self._server.start()
        for name in ("", _SERVICE):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        _log.info("sink_listening", address=self._address)

    async def close(self, *, grace_seconds: float = 30.0) -> None:
        """Take no new calls and wait for those under way. The writer stays open: who opened it closes it."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)
        self._decoder.shutdown(wait=True)

    def _bind(self) -> None:
        path = self._address.removeprefix("unix:")
        local = path != self._address
        if local and len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
            raise OSError(f"{path}: a socket's path has at most {_SOCKET_PATH_BYTES} bytes; use a shorter directory")
        try:
            if self._credentials is None:
                bound = self._server.add_insecure_port(self._address)
            else:
                bound = self._server.add_secure_port(self._address, self._credentials)
        except RuntimeError as error:
            raise OSError(f"can't listen at {self._address}: {error}") from error
        if local:
            # Rows are for this user's processes only.
            pathlib.Path(path).chmod(0o600)
        else:
            self._address = f"{self._address.rpartition(':')[0]}:{bound}"
