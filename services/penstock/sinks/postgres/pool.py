"""The connections to one server: so many at most, each used for a while, none kept that nobody needs.

A connection on which anything unexpected happened is never used again: what state it is in is not known.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg

from penstock.core import results
from penstock.sinks import port
from penstock.telemetry import metrics

_SINK_TYPE = "Postgres"
_IDLE_SECONDS = 60.0
_LIFETIME_SECONDS = 1_800.0
_GOODBYE_SECONDS = 1.0

Connect = Callable[[], Awaitable[asyncpg.Connection]]


@dataclasses.dataclass(eq=False, slots=True, kw_only=True)
class Held:
    """A connection and what was made on it. `layout`: the columns of its staging table; empty where there is none."""

    connection: asyncpg.Connection
    opened: float
    used: float
    layout: tuple[str, ...] = ()


class Pool:
    """At most `limit` connections. Used in one event loop; nothing is called after `close`."""

    def __init__(
        self,
        connect: Connect,
        *,
        limit: int,
        idle_seconds: float = _IDLE_SECONDS,
        lifetime_seconds: float = _LIFETIME_SECONDS,
    ) -> None:
        self._connect, self._idle_seconds, self._lifetime_seconds = connect, idle_seconds, lifetime_seconds
        self._free = asyncio.Semaphore(limit)
        self._limit = limit
        self._idle: list[Held] = []
        self._sweeping: asyncio.Task[None] | None = None
        metrics.SINK_POOL_CONNECTIONS.labels(_SINK_TYPE, "limit").inc(limit)

    @contextlib.asynccontextmanager
    async def connection(self, wait_seconds: float) -> AsyncIterator[Held]:
        """A connection for this block alone; it is closed if the block raises. Raises SinkError (pressure, outage)."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise _crowded(self._limit, wait_seconds) from None
        in_use = metrics.SINK_POOL_CONNECTIONS.labels(_SINK_TYPE, "in_use")
        in_use.inc()
        metrics.SINK_POOL_WAIT_SECONDS.labels(_SINK_TYPE).observe(clock() - began)
        try:
            held = await self._taken()
            try:
                yield held
            except BaseException:
                self._end(held, "failed")
                raise
            await self._give_back(held)
        finally:
            in_use.dec()
            self._free.release()

    async def close(self) -> None:
        """Close what is idle; nothing may be in use."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        while self._idle:
            await self._close(self._pop(), "closed")
        metrics.SINK_POOL_CONNECTIONS.labels(_SINK_TYPE, "limit").dec(self._limit)

    async def _taken(self) -> Held:
        clock = asyncio.get_running_loop().time
        while self._idle:
            held = self._pop()
            if held.connection.is_closed():
                self._end(held, "failed")
                continue
            metrics.SINK_POOL_IDLE_SECONDS.labels(_SINK_TYPE).observe(clock() - held.used)
            return held
        connection = await self._connect()
        return Held(connection=connection, opened=clock(), used=clock())

    def _pop(self) -> Held:
        # The one used last: those that a quieter time does not need get old and go.
        metrics.SINK_POOL_CONNECTIONS.labels(_SINK_TYPE, "idle").dec()
        return self._idle.pop()

    async def _give_back(self, held: Held) -> None:
        held.used = asyncio.get_running_loop().time()
        if held.connection.is_closed():
            self._end(held, "failed")
        elif held.used - held.opened > self._lifetime_seconds:
            await self._close(held, "lifetime")
        else:
            self._idle.append(held)
            metrics.SINK_POOL_CONNECTIONS.labels(_SINK_TYPE, "idle").inc()
            if self._sweeping is None or self._sweeping.done():
                self._sweeping = asyncio.create_task(self._sweep())

    async def _sweep(self) -> None:
        """Close what has been idle for too long, until nothing is idle."""
        while self._idle:
            oldest = self._idle[0].used + self._idle_seconds
            await asyncio.sleep(max(0.0, oldest - asyncio.get_running_loop().time()))
            now = asyncio.get_running_loop().time()
            for held in [held for held in self._idle if held.used + self._idle_seconds <= now]:
                self._idle.remove(held)
                metrics.SINK_POOL_CONNECTIONS.labels(_SINK_TYPE, "idle").dec()
                await self._close(held, "idle")

    async def _close(self, held: Held, reason: str) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await held.connection.close(timeout=_GOODBYE_SECONDS)
        self._end(held, reason)

    def _end(self, held: Held, reason: str) -> None:
        if not held.connection.is_closed():
            held.connection.terminate()
        lived = asyncio.get_running_loop().time() - held.opened
        metrics.SINK_POOL_LIFETIME_SECONDS.labels(_SINK_TYPE, reason).observe(lived)


def _crowded(limit: int, seconds: float) -> port.SinkError:
    return port.SinkError(
        results.Failure(
            result_class=results.ResultClass.PRESSURE,
            code="POOL_WAIT",
            message=f"none of the {limit} connections was free within {seconds:.1f} s",
            remedy="raise postgres.maxConnections, or lower batching.limits.concurrency",
        )
    )
