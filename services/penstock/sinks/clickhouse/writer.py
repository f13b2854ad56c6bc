"""The ClickHouse destination: a batch is one INSERT of an Arrow stream over HTTP, and waits until the server has it.

Identity is Token where the table remembers enough inserts: the server then drops an insert whose token it knows, and says
yes. What the token stands for is the lane's to keep the same (docs/delivery.md).
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Coroutine
from typing import Any

import pyarrow as pa

from penstock.core import delivery, failpoints, results
from penstock.sinks import port, tables
from penstock.sinks.clickhouse import client as http_client
from penstock.sinks.clickhouse import codes, column_types, credentials, pool, unfit
from penstock.sinks.clickhouse import table as clickhouse_table

# Of the time a write may take: the lane's own deadline comes after ours, so that it hears why.
_SHARE_OF_TIME = 0.9
_COMPRESSION_LEVEL = 1
_KNOWN_SECONDS = 60.0
_PREFERRED_ROWS = 100_000
_PREFERRED_BYTES = 16 * 1024 * 1024

_SETTINGS = {
    "async_insert": "0",
    "insert_deduplicate": "1",
    "wait_end_of_query": "1",
    # Else a NULL that the column can't hold lands as 0 or ''.
    "input_format_null_as_default": "0",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where rows go and as whom."""

    url: str
    database: str
    credentials: credentials.Credentials


class ClickHouseWriter:
    """Writes to tables of one server; a `SinkWriter`. Opens its connections when they are needed, `concurrency` at most for
    writes. A write ends within `timeout_seconds`. Failpoint: `answered`."""

    def __init__(
        self,
        server: Server,
        *,
        table_policy: tables.TablePolicy = tables.TablePolicy.VERIFY,
        concurrency: int = 16,
        timeout_seconds: float = 30.0,
        failpoint: failpoints.Failpoint = failpoints.nothing,
    ) -> None:
        self._server, self._policy, self._concurrency = server, table_policy, concurrency
        self._seconds = timeout_seconds * _SHARE_OF_TIME
        self._failpoint = failpoint
        self._client: http_client.Client | None = None
        self._tables: dict[str, tuple[float, clickhouse_table.Table]] = {}

    async def describe(self, lane: str, table: str, schema: pa.Schema) -> delivery.Description:
        """See `SinkWriter`."""
        found = await clickhouse_table.prepared(self._opened(), self._server.database, table, schema, self._policy)
        self._tables[table] = (time.monotonic(), found)
        identity, reason = found.identity()
        return delivery.Description(
            identity=identity,
            identity_reason=reason,
            max_concurrency=self._concurrency,
            preferred_rows=_PREFERRED_ROWS,
            preferred_bytes=_PREFERRED_BYTES,
        )

    async def write(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        """See `SinkWriter`. An error of the data's is raised where the server names no row: what was tried can't be undone."""
        target = await self._target(batch)
        if rejected := await asyncio.to_thread(unfit.rows, batch.rows, target.types):
            return delivery.WriteResult(rejected=rejected)
        body = await asyncio.to_thread(_encoded, batch.rows)
        try:
            await _to_its_end(self._insert(target, batch, body))
        except port.SinkError as error:
            if error.failure.result_class in (results.ResultClass.CONFIG, results.ResultClass.DATA):
                # The table may be another one by now.
                self._tables.pop(batch.table, None)
            if refused := _refused(error.failure, target, batch):
                return delivery.WriteResult(rejected=refused)
            raise
        return delivery.WriteResult(written=batch.rows.num_rows)

    async def query(self, sql: str) -> pa.Table:
        """See `SinkWriter`."""
        at = self._opened().place
        raise tables.misconfigured(
            "NOT_QUERYABLE", f"rows land in {at}, which is not part of this pipeline", "ask the server itself"
        )

    async def close(self) -> None:
        """See `SinkWriter`."""
        if self._client is not None:
            await self._client.close()

    async def _target(self, batch: delivery.SinkBatch) -> clickhouse_table.Table:
        """What is known of the table; asked anew after it has refused something, and now and then: a column that was altered
        may take values and change them."""
        asked, known = self._tables.get(batch.table, (0.0, None))
        if known is None or time.monotonic() - asked > _KNOWN_SECONDS:
            known = await clickhouse_table.verified(self._opened(), self._server.database, batch.table, batch.rows.schema)
            self._tables[batch.table] = (time.monotonic(), known)
        return known

    async def _insert(self, target: clickhouse_table.Table, batch: delivery.SinkBatch, body: bytes) -> None:
        columns = ", ".join(map(column_types.quoted, batch.rows.column_names))
        settings = {
            **_SETTINGS,
            "insert_deduplication_token": batch.token,
            "max_execution_time": str(max(1, round(self._seconds))),
        }
        statement = f"INSERT INTO {target.sql} ({columns}) FORMAT ArrowStream"
        await self._opened().insert(statement, body, settings, seconds=self._seconds)
        self._failpoint("answered")

    def _opened(self) -> http_client.Client:
        if self._client is None:
            # One more than writes, so that a description never waits for them.
            connections = pool.Pool("ClickHouse", pool.Limits(size=self._concurrency + 1))
            self._client = http_client.Client(self._server.url, self._server.credentials, connections)
        return self._client


def _refused(failure: results.Failure, target: clickhouse_table.Table, batch: delivery.SinkBatch) -> list[results.RejectedRow]:
    """The one row that the server has named; it lands none of the others, and looks at none after it. A row that comes alone
    needs no name."""
    row = codes.violating_row(failure, target.sql)
    if row is None or not 0 <= row < batch.rows.num_rows or batch.rows.num_rows == 1:
        return []
    return [results.RejectedRow(row=row, result_class=results.ResultClass.DATA, code=failure.code, message=failure.message)]


def _encoded(rows: pa.Table) -> bytes:
    """One Arrow stream of one record batch, compressed as a whole: the server must see one block, which lands or does not."""
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    codec = pa.Codec("zstd", compression_level=_COMPRESSION_LEVEL)
    compressed: bytes = codec.compress(out.getvalue(), asbytes=True)
    return compressed


async def _to_its_end(insert: Coroutine[Any, Any, None]) -> None:
    """Cancelled after it has begun, an insert is waited for: its token must not be under way twice, here and in a retry."""
    task = asyncio.ensure_future(insert)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        raise
