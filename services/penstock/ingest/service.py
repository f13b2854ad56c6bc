"""One pipeline's ingest: both doors over one admission, wired and started in the order in which they need each other."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import Callable
from concurrent import futures

from penstock.ingest import admission, blocks, body, grpc_door, http_door, instruments
from penstock.ingest import certificate as certificates
from penstock.ingest import secret as secrets
from penstock.ingest import settings as ingest_settings
from penstock.ingest import tokens as guards
from penstock.log import port

_RELOAD_SECONDS = 30.0
"""Well within the two minutes that a change of a secret may take to count."""

IngestSettings = ingest_settings.IngestSettings
Stats = instruments.Stats


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The addresses the doors are bound to, as `host:port`."""

    grpc: str
    http: str


def _now_microseconds() -> int:
    return time.time_ns() // 1_000


def _new_producer() -> str:
    return os.urandom(8).hex()


class IngestService:
    """`start`, then `drain` (optional), then `close`; the log is the caller's and stays open. Used from one event loop."""

    def __init__(
        self,
        settings: IngestSettings,
        log: port.EventLog,
        *,
        tokens: secrets.Secret | None = None,
        certificate: secrets.Secret | None = None,
        now_microseconds: Callable[[], int] = _now_microseconds,
        new_producer: Callable[[], str] = _new_producer,
    ) -> None:
        self._settings = settings
        self._log = log
        self._now_microseconds = now_microseconds
        self._new_producer = new_producer
        self._measured = instruments.Instruments(settings.namespace, settings.pipeline)
        self._guard = guards.TokenGuard(tokens) if tokens else None
        self._certificate = certificates.Certificate(certificate) if certificate else None
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Open both doors.

        Raises SecretError for tokens or a certificate that can't be used, ValueError for a schema that can't be read, OSError
        for a taken address.
        """
        settings = self._settings
        for locked in (self._guard, self._certificate):
            if locked is not None:
                locked.load()
        async with contextlib.AsyncExitStack() as opening:
            executor = opening.enter_context(futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="ingest-compose"))
            builder = blocks.BlockBuilder(settings, self._log, executor, self._measured, self._new_producer)
            opening.push_async_callback(builder.drain)
            self._admission = admission.Admission(settings, builder, self._measured, self._now_microseconds)
            shown = self._certificate
            self._grpc = grpc_door.GrpcDoor(
                self._admission,
                settings.grpc_address,
                min(settings.max_request_bytes, settings.max_message_bytes),
                settings.max_calls,
                self._guard,
                shown.grpc_credentials() if shown else None,
            )
            opening.push_async_callback(self._grpc.close)
            limits = body.Limits(
                most_bytes=settings.max_request_bytes,
                idle_seconds=settings.body_idle_seconds,
                total_seconds=settings.body_seconds,
                connection_idle_seconds=settings.connection_idle_seconds,
            )
            http = http_door.HttpDoor(
                self._admission,
                settings.http_address,
                limits,
                self._guard,
                shown.context if shown else None,
                max_connections=settings.max_connections,
            )
            opening.push_async_callback(http.close)
            if self._guard or self._certificate:
                opening.callback(asyncio.create_task(self._reload_regularly()).cancel)
            self.ports = Ports(grpc=await self._grpc.start(), http=await http.start())
            self._stack = opening.pop_all()

    async def reload(self) -> None:
        """Read tokens and certificate again. What is wrong with them is logged and changes nothing."""
        for locked in (self._guard, self._certificate):
            if locked is not None:
                await asyncio.to_thread(locked.reload)

    async def _reload_regularly(self) -> None:
        while True:
            await asyncio.sleep(_RELOAD_SECONDS)
            await self.reload()

    async def drain(self) -> None:
        """Take no more events, answer all that were received, end the streams. The doors stay open and say so."""
        self._admission.draining.set()
        await self._grpc.drain()
        await self._admission.drain()

    async def close(self) -> None:
        """Close the doors, then let what was received become durable. Also right without `drain`, or after a failed `start`."""
        await self._stack.aclose()

    def stats(self) -> Stats:
        return self._measured.stats()
