"""One lane over a real embedded log and a real sink server, for the tests of its guarantees.

The store is DuckDB, or the one that is asked for, behind `Troubled`, which misbehaves as it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pathlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from penstock.api import load
from penstock.api.model import sinks as api_sinks
from penstock.batcher import lane as batcher_lane
from penstock.batcher.writing import sink_client
from penstock.core import blocks, deadletters, delivery, dialects, ledger, markers, parse, results, schema
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.log.embedded import store as embedded_store
from penstock.machine import lanes
from penstock.sinks import port as sinks_port
from penstock.sinks import server, tables
from penstock.sinks.duckdb import writer as duckdb_sink

PIPELINE = """
apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: clicks}
spec:
  schema:
    fields:
      - {name: id, type: String, required: true}
      - {name: num, type: Int64}
      - {name: kind, type: String}
      - {name: items, type: List, element: {type: Int64}}
  sinks:
    - name: warehouse
      type: DuckDB
      duckDB: {path: unused.duckdb, table: clicks}
      batching: {static: {rows: 10, lingerMilliseconds: 20}, limits: {rows: 40}}
      retry: {initialBackoffMilliseconds: 5, maxBackoffMilliseconds: 20}
      circuitBreaker: {openSeconds: 1}
"""


def pipeline(**spec: Any) -> str:
    """PIPELINE with members of its spec, or `sink_…` members of its sink, replaced."""
    described = msgspec.yaml.decode(PIPELINE)
    for name, value in spec.items():
        if name.startswith("sink_"):
            described["spec"]["sinks"][0][name.removeprefix("sink_")] = value
        else:
            described["spec"][name] = value
    return msgspec.yaml.encode(described).decode()


class Troubled:
    """A `SinkWriter` in front of another one. `plan` holds what the next writes do; after that `always` says."""

    def __init__(self, inner: sinks_port.SinkWriter) -> None:
        self._inner = inner
        self.plan: deque[Callable[[delivery.SinkBatch], object]] = deque()
        self.always: Callable[[delivery.SinkBatch], object] = lambda _: None
        self.batches: list[delivery.SinkBatch] = []
        self.most_writes: int | None = None
        """In place of the bound that the store names."""

    async def describe(self, lane: str, table: str, columns: pa.Schema) -> delivery.Description:
        described = await self._inner.describe(lane, table, columns)
        return described if self.most_writes is None else dataclasses.replace(described, max_concurrency=self.most_writes)

    async def write(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        self.batches.append(batch)
        done = self.plan.popleft()(batch) if self.plan else self.always(batch)
        if isinstance(done, delivery.WriteResult):
            return done
        return await self._inner.write(batch)

    async def query(self, sql: str) -> pa.Table:
        return await self._inner.query(sql)

    async def close(self) -> None:
        await self._inner.close()

    async def land_and_lie(self, batch: delivery.SinkBatch) -> None:
        await self._inner.write(batch)


def fail(result_class: results.ResultClass) -> Callable[[delivery.SinkBatch], object]:
    """A write that fails as a whole."""

    def failing(_: delivery.SinkBatch) -> object:
        raise sinks_port.SinkError(results.Failure(result_class=result_class, code="TEST", message="as told"))

    return failing


OpenStore = Callable[[api_sinks.Sink, pathlib.Path], sinks_port.SinkWriter]


def _duckdb(_: api_sinks.Sink, path: pathlib.Path) -> sinks_port.SinkWriter:
    return duckdb_sink.DuckDBWriter(path / "store.duckdb", table_policy=tables.TablePolicy.CREATE_IF_MISSING)


class LaneRun:
    """A directory with a log and a store that outlive the lanes started on them."""

    def __init__(
        self,
        path: pathlib.Path,
        text: str = PIPELINE,
        host: embedded_store.Host | None = None,
        open_store: OpenStore | None = None,
    ) -> None:
        self._path, self._host, self._open_store = path, host or embedded_store.Host(), open_store or _duckdb
        self._pipeline = load.load_one(text)
        self.settings = lanes.lane_for(self._pipeline, self._pipeline.spec.sinks[0])
        self._sequence = 0
        self._producer = "test"

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[LaneRun]:
        """The log and the store, without a lane."""
        self.log = await embedded.EmbeddedLog.open(
            self._path / "log.db", partitions=lanes.partitions(self._pipeline), host=self._host
        )
        sink = self._pipeline.spec.sinks[0]
        self.store = Troubled(self._open_store(sink, self._path))
        served = server.SinkServer(self.store, sink_type=sink.type, address="127.0.0.1:0")
        await served.start()
        self._address = served.address
        try:
            yield self
        finally:
            await served.close()
            await self.store.close()
            await self.log.close()

    @contextlib.asynccontextmanager
    async def lane(self) -> AsyncIterator[batcher_lane.Lane]:
        """A lane on them."""
        lane = batcher_lane.Lane(self.settings, self.log, sink_client.SinkClient(self._address))
        try:
            await lane.start()
            yield lane
        finally:
            await lane.stop()

    async def append(self, *events: dict[str, Any], partition: int = 0) -> int:
        """One block of these events; its offset."""
        parser = parse.EventParser(self.settings.event_schema, 1 << 20)
        parsed = parser.parse([msgspec.json.encode(event) for event in events])
        assert not parsed.rejected
        stamped = parsed.batch.append_column(
            pa.field(blocks.RECEIVED_AT, pa.timestamp("us", tz="UTC")),
            pa.array([1] * parsed.batch.num_rows, pa.timestamp("us", tz="UTC")),
        )
        value, headers = blocks.encode(stamped, schema.fingerprint(self.settings.event_schema))
        record = port.NewRecord(value=value, headers=headers, producer=self._producer, sequence=self._sequence)
        self._sequence += 1
        return (await self.log.append(port.EVENTS, partition, record)).offset

    async def rows(self, sql: str = "SELECT id, num FROM clicks ORDER BY ALL") -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in (await self.store.query(sql)).to_pylist()]

    async def letters(self) -> Sequence[deadletters.DeadLetter]:
        end = (await self.log.bounds(port.DEAD_LETTERS, 0)).end
        found = await self.log.read(port.DEAD_LETTERS, 0, 0, max_bytes=1 << 30) if end else []
        letters = [record for record in found if not markers.is_marker(record.headers)]
        return deadletters.collapse(dialects.decode(record.value, record.headers) for record in letters)

    async def committed(self) -> tuple[int, ledger.LaneMetadata]:
        commit = (await self.log.committed(port.EVENTS, self.settings.lane))[0]
        return commit.offset, ledger.from_metadata(commit.metadata)

    async def rewind(self, offset: int, metadata: ledger.LaneMetadata) -> None:
        """Put the group back, as a crash between the write and the commit leaves it."""
        subscription = await self.log.subscribe(port.EVENTS, self.settings.lane, _Nobody())
        await subscription.commit({0: port.Commit(offset=offset, metadata=ledger.to_metadata(metadata))})
        await subscription.close()


class _Nobody:
    async def on_assigned(self, commits: object) -> None: ...

    async def on_revoked(self, partitions: object) -> None: ...


async def drained(lane: batcher_lane.Lane, seconds: float = 30.0) -> ledger.Counts:
    """Drain the lane; its ledger, which must balance."""
    assert await lane.drain(seconds), lane.failure
    totals = lane.accounts.totals()
    assert totals.unexplained() == 0, totals
    return totals


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for can not notify
            await asyncio.sleep(0.01)


def events(start: int, count: int) -> list[dict[str, object]]:
    return [{"id": f"e{number}", "num": number} for number in range(start, start + count)]


def wanted(start: int, count: int) -> list[tuple[object, ...]]:
    return sorted((f"e{number}", number) for number in range(start, start + count))
