"""Several real sink servers over one store, each of which stalls, dies or lies as it is told, and a lane that writes to all.

The store is that of a `lane_run.LaneRun`; what the doors say of it can be changed, because the lane goes by what it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pyarrow as pa
from tests.integration import lane_run

from penstock.batcher import lane as batcher_lane
from penstock.batcher.writing import sink_client
from penstock.core import delivery, hedging
from penstock.sinks import port as sinks_port
from penstock.sinks import server

HEDGING = hedging.Settings(after_percentile=95, budget_percent=50)


async def _at_once(_: delivery.SinkBatch) -> None:
    return None


class Door:
    """A `SinkWriter` in front of the store that all doors share."""

    def __init__(self, inner: sinks_port.SinkWriter) -> None:
        self._inner = inner
        self.before: Callable[[delivery.SinkBatch], Awaitable[object]] = _at_once
        self.after: Callable[[delivery.SinkBatch], Awaitable[object]] = _at_once
        self.says: dict[str, Any] = {"max_concurrency": 2}
        """In place of what the store says of itself."""
        self.batches: list[delivery.SinkBatch] = []
        self.zombies: list[asyncio.Future[delivery.WriteResult]] = []
        self.outlives = False
        """Whether a write goes on although its caller has given up."""

    async def describe(self, lane: str, table: str, columns: pa.Schema) -> delivery.Description:
        return dataclasses.replace(await self._inner.describe(lane, table, columns), **self.says)

    async def write(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        self.batches.append(batch)
        if not self.outlives:
            return await self._write(batch)
        task = asyncio.ensure_future(self._write(batch))
        self.zombies.append(task)
        return await asyncio.shield(task)

    async def _write(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        await self.before(batch)
        result = await self._inner.write(batch)
        await self.after(batch)
        return result

    async def query(self, sql: str) -> pa.Table:
        return await self._inner.query(sql)

    async def close(self) -> None: ...


class Doors:
    """Three of them. `close_door` and `open_door` are a process that dies and one that comes back at the same address."""

    def __init__(self, run: lane_run.LaneRun) -> None:
        self._run = run
        self.doors = [Door(run.store) for _ in range(3)]
        self._servers: dict[int, server.SinkServer] = {}
        self._addresses = ["127.0.0.1:0"] * 3

    def __getitem__(self, number: int) -> Door:
        return self.doors[number]

    @property
    def addresses(self) -> str:
        return ",".join(self._addresses)

    def number(self, address: str) -> int:
        return self._addresses.index(address)

    @property
    def writes(self) -> int:
        return sum(len(door.batches) for door in self.doors)

    def all_say(self, **says: Any) -> None:
        for door in self.doors:
            door.says |= says

    async def open_door(self, number: int) -> None:
        served = server.SinkServer(self.doors[number], sink_type="DuckDB", address=self._addresses[number])
        await served.start()
        self._servers[number], self._addresses[number] = served, served.address

    async def close_door(self, number: int) -> None:
        if served := self._servers.pop(number, None):
            await served.close(grace_seconds=0.0)

    @contextlib.asynccontextmanager
    async def lane(self, **changed: Any) -> AsyncIterator[batcher_lane.Lane]:
        """A lane that writes through all of them; `changed`: its settings."""
        told = dataclasses.replace(self._run.settings, **changed)
        lane = batcher_lane.Lane(told, self._run.log, sink_client.SinkClient(self.addresses))
        try:
            await lane.start()
            yield lane
        finally:
            await lane.stop()


@contextlib.asynccontextmanager
async def opened(run: lane_run.LaneRun) -> AsyncIterator[Doors]:
    """Over the store of a run that is opened."""
    doors = Doors(run)
    try:
        for number in range(3):
            await doors.open_door(number)
        yield doors
    finally:
        for number in range(3):
            await doors.close_door(number)
