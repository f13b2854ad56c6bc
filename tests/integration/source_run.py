"""A lane over topics of a user within the test's own process: what a pipeline process would open, without the process."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any

from tests.integration import lane_run

from penstock.api import load
from penstock.batcher import lane as batcher_lane
from penstock.batcher.writing import sink_client
from penstock.core import deadletters, dialects, markers
from penstock.log import port
from penstock.log.kafka.foreign import front as foreign
from penstock.machine import directory, lanes, opening, secrets, sourcing
from penstock.sinks import server, tables
from penstock.sinks.duckdb import writer as duckdb_sink


class SourceRun:
    """A store, a data directory, and what stands in the topics, which outlive the lanes started on them."""

    def __init__(self, path: pathlib.Path, text: str, environment: dict[str, str] | None = None) -> None:
        self.pipeline = load.load_one(text)
        self._data = directory.DataDirectory(path)
        self._secrets = secrets.SecretStore(path / "secrets", environment or {}, secrets.names(self.pipeline))
        self._store = duckdb_sink.DuckDBWriter(path / "store.duckdb", table_policy=tables.TablePolicy.CREATE_IF_MISSING)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[SourceRun]:
        """The store, without a log."""
        served = server.SinkServer(self._store, sink_type="DuckDB", address="127.0.0.1:0")
        await served.start()
        self._address = served.address
        try:
            yield self
        finally:
            await served.close()
            await self._store.close()

    async def open_log(self, *, read_only: bool = False) -> foreign.ForeignLog:
        """Whoever asks closes it."""
        log = await opening.open_log(self.pipeline, self._data, self._secrets, read_only=read_only)
        assert isinstance(log, foreign.ForeignLog)
        return log

    @contextlib.asynccontextmanager
    async def lane(self) -> AsyncIterator[batcher_lane.Lane]:
        """A lane on a log of its own."""
        self.log = await self.open_log()
        try:
            settings = sourcing.reading(self.pipeline, self.log, lanes.lane_for(self.pipeline, self.pipeline.spec.sinks[0]))
            lane = batcher_lane.Lane(settings, self.log, sink_client.SinkClient(self._address))
            try:
                await lane.start()
                yield lane
            finally:
                await lane.stop()
        finally:
            await self.log.close()

    async def drained(self) -> Any:
        """What a lane that reads to the end has in its books."""
        async with self.lane() as lane:
            return await lane_run.drained(lane, 60.0)

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row.values()) for row in (await self._store.query(sql)).to_pylist()]

    async def letters(self) -> list[deadletters.DeadLetter]:
        """While no lane runs."""
        log = await self.open_log(read_only=True)
        try:
            found = [
                record
                for partition in range(log.partitions)
                for record in (
                    await log.read(port.DEAD_LETTERS, partition, 0, max_bytes=1 << 30)
                    if (await log.bounds(port.DEAD_LETTERS, partition)).end
                    else []
                )
            ]
        finally:
            await log.close()
        return [dialects.decode(record.value, record.headers) for record in found if not markers.is_marker(record.headers)]
