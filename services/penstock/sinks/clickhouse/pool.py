"""A pool of HTTP connections: sized, timed and measured, so that a slow store can be told from a pool that is too small.

Each connection is a client session of its own with one socket. It is opened when it is first needed, and closed when it has
waited for longer than the server keeps it, when it is too old for what may have changed about the name it was made for, or
when a request on it failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable

import aiohttp

from penstock.core import results
from penstock.sinks import port
from penstock.telemetry import metrics


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`size` connections at most; each is used again for `lifetime_seconds`, after at most `idle_seconds` without use."""

    size: int
    idle_seconds: float = 2.5
    lifetime_seconds: float = 600.0
    wait_seconds: float = 10.0


@dataclasses.dataclass(slots=True, kw_only=True)
class Connection:
    """One session; `idle_seconds` may be set to what the server says it waits."""

    session: aiohttp.ClientSession
    born: float
    used: float
    idle_seconds: float


class Pool:
    """Created in the loop it is used in; nothing is called after `close`."""

    def __init__(self, sink_type: str, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._type, self._limits, self._clock = sink_type, limits, clock
        self._free = asyncio.Semaphore(limits.size)
        self._idle: list[Connection] = []
        self.in_use = 0
        metrics.SINK_POOL_CONNECTIONS.labels(sink_type, "limit").inc(limits.size)

    @property
    def idle(self) -> int:
        return len(self._idle)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for one request. Raises SinkError (pressure) when none becomes free in time.

        Whatever is raised while it is held closes it: what may still come on it belongs to nobody.
        """
        await self._turn()
        taken = await self._taken()
        self._count(in_use=1)
        try:
            yield taken
        except BaseException:
            await self._close(taken, "failed")
            raise
        else:
            taken.used = self._clock()
            self._idle.append(taken)
            metrics.SINK_POOL_CONNECTIONS.labels(self._type, "idle").inc()
        finally:
            self._count(in_use=-1)
            self._free.release()

    async def close(self) -> None:
        """After the last request."""
        while self._idle:
            await self._close(self._pop(), "closed")
        metrics.SINK_POOL_CONNECTIONS.labels(self._type, "limit").dec(self._limits.size)

    async def _turn(self) -> None:
        asked = self._clock()
        try:
            async with asyncio.timeout(self._limits.wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise port.SinkError(
                results.Failure(
                    result_class=results.ResultClass.PRESSURE,
                    code="POOL_WAIT",
                    message=f"none of {self._limits.size} connections became free within {self._limits.wait_seconds:.0f} s",
                )
            ) from None
        metrics.SINK_POOL_WAIT_SECONDS.labels(self._type).observe(self._clock() - asked)

    async def _taken(self) -> Connection:
        """The one used last, which is the least likely to have been closed by the server; else a new one."""
        while self._idle:
            found, now = self._pop(), self._clock()
            idle, age = now - found.used, now - found.born
            if idle < found.idle_seconds and age < self._limits.lifetime_seconds:
                metrics.SINK_POOL_IDLE_SECONDS.labels(self._type).observe(idle)
                return found
            await self._close(found, "idle" if idle >= found.idle_seconds else "lifetime")
        connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=self._limits.lifetime_seconds)
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
        now = self._clock()
        return Connection(session=session, born=now, used=now, idle_seconds=self._limits.idle_seconds)

    def _pop(self) -> Connection:
        metrics.SINK_POOL_CONNECTIONS.labels(self._type, "idle").dec()
        return self._idle.pop()

    async def _close(self, connection: Connection, reason: str) -> None:
        metrics.SINK_POOL_LIFETIME_SECONDS.labels(self._type, reason).observe(self._clock() - connection.born)
        await connection.session.close()

    def _count(self, in_use: int) -> None:
        self.in_use += in_use
        metrics.SINK_POOL_CONNECTIONS.labels(self._type, "in_use").inc(in_use)
