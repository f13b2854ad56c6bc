"""The Postgres destination: rows by binary COPY into a staging table, and from there in one transaction with what they are.

Append is Transactional: the ranges are noted under the lock of their partition's row, in the rows' own transaction, so that
a retry by whatever process, or a transaction that was suspended for an hour, lands nothing twice. The COPY comes before the
lock, so that writers wait for each other only while the server works. Upsert is RowKey: a smaller version never wins.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import asyncpg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core import addresses, delivery, failpoints, results
from penstock.sinks import offenders, port, tables
from penstock.sinks.postgres import binary, codes, encode, journal, pool, search, server, statements
from penstock.sinks.postgres import table as postgres_table

_PREFERRED_ROWS = 10_000
_PREFERRED_BYTES = 8 * 1024 * 1024
# Of the time a write may take: what is known by then is answered before the lane gives up on the whole.
_SHARE_OF_TIME = 0.9
_SEARCH_SHARE = 0.6
_WAIT_SHARE = 0.5
_REASONS = {
    delivery.Identity.TRANSACTIONAL: "landed ranges are committed in the rows' own transaction",
    delivery.Identity.ROW_KEY: "a row replaces the one with its key only if its version is greater",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a sink writes. `upsert` None: every row is inserted."""

    server: server.Server
    state_schema: str
    max_connections: int
    upsert: postgres_table.Upsert | None
    table_policy: tables.TablePolicy
    timeout_seconds: float


class PostgresWriter:
    """Writes to one database; a `SinkWriter`. Opens its connections when they are needed, at most `max_connections`.

    Failpoints: `copied`, `locked`, `inserted`, `journalled`, `committed`.
    """

    def __init__(self, settings: Settings, *, failpoint: failpoints.Failpoint = failpoints.nothing) -> None:
        self._settings, self._failpoint = settings, failpoint
        self._server = settings.server
        self._seconds = settings.timeout_seconds * _SHARE_OF_TIME
        self._pool: pool.Pool | None = None
        self._journal = journal.Journal(settings.state_schema)
        self._plans: dict[str, tuple[pa.Schema, statements.Plan]] = {}
        self._generations: dict[tuple[str, str], int] = {}

    @property
    def _identity(self) -> delivery.Identity:
        return delivery.Identity.TRANSACTIONAL if self._settings.upsert is None else delivery.Identity.ROW_KEY

    async def describe(self, lane: str, table: str, schema: pa.Schema) -> delivery.Description:
        """See `SinkWriter`."""
        try:
            async with asyncio.timeout(self._seconds), self._connection() as held:
                await self._journal.prepare(held.connection, lane)
                await self._prepare(held.connection, table, schema, self._settings.table_policy)
        except Exception as error:
            raise self._server.failure(error) from error
        return delivery.Description(
            identity=self._identity,
            identity_reason=_REASONS[self._identity],
            max_concurrency=self._settings.max_connections,
            preferred_rows=_PREFERRED_ROWS,
            preferred_bytes=_PREFERRED_BYTES,
        )

    async def write(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        """See `SinkWriter`. Cancelled or out of time, it gives up its connection: whether the rows have landed the retry
        finds out under the lock."""
        ends = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(ends):
                return await self._write(batch, ends)
        except Exception as error:
            failure = self._server.failure(error)
            if failure.failure.result_class is results.ResultClass.CONFIG:
                # The table may have been changed: it is looked at again.
                self._plans.pop(batch.table, None)
            raise failure from error

    async def query(self, sql: str) -> pa.Table:
        """See `SinkWriter`."""
        raise tables.misconfigured("NOT_QUERYABLE", f"{self._server.place} is another program's to ask", "ask it with psql")

    async def close(self) -> None:
        """See `SinkWriter`."""
        if self._pool is not None:
            await self._pool.close()

    def _opened(self) -> pool.Pool:
        if self._pool is None:
            limit = self._settings.max_connections
            self._pool = pool.Pool(lambda: self._server.connect(self._settings.timeout_seconds), limit=limit)
        return self._pool

    def _connection(self) -> contextlib.AbstractAsyncContextManager[pool.Held]:
        return self._opened().connection(self._seconds * _WAIT_SHARE)

    async def _prepare(
        self, connection: asyncpg.Connection, table: str, schema: pa.Schema, policy: tables.TablePolicy
    ) -> statements.Plan:
        upsert = self._settings.upsert
        target = await postgres_table.prepare(connection, table, schema, policy, upsert)
        plan = statements.plan(target, upsert)
        self._plans[table] = schema, plan
        return plan

    async def _write(self, batch: delivery.SinkBatch, ends: float) -> delivery.WriteResult:
        rows, places = _apart(batch.rows)
        plan = await self._plan(batch.table, rows.schema)
        rejected = offenders.nulls(rows, [*plan.target.not_null, *self._key()])
        if rejected:
            return delivery.WriteResult(rejected=rejected)
        if len(plan.columns) > rows.num_columns:
            rows = await self._with_versions(batch.table, rows, places)
        try:
            encoded = await asyncio.to_thread(encode.rows, rows, plan.ways)
        except encode.UnfitValuesError as error:
            return delivery.WriteResult(rejected=_unfit(error))
        async with self._connection() as held:
            await _stage(held, plan.layout)
            landing = _Landing(held.connection, plan)
            try:
                return await self._land(landing, batch, encoded)
            except asyncpg.PostgresError as error:
                if not codes.is_data(error):
                    raise
                return delivery.WriteResult(rejected=await self._offenders(landing, batch, encoded, error, ends))

    async def _land(self, landing: _Landing, batch: delivery.SinkBatch, encoded: binary.Tuples) -> delivery.WriteResult:
        connection = landing.connection
        async with connection.transaction(isolation="read_committed"):
            await landing.copy(encoded.stream())
            self._failpoint("copied")
            if self._settings.upsert is None:
                landed = await self._journal.lock(connection, batch)
                self._failpoint("locked")
                known = addresses.intersect(batch.ranges, landed)
                if known:
                    return delivery.WriteResult(already_landed=known)
            await landing.insert()
            self._failpoint("inserted")
            if self._settings.upsert is None:
                await self._journal.note(connection, batch, landed)
                self._failpoint("journalled")
        self._failpoint("committed")
        return delivery.WriteResult(written=batch.rows.num_rows)

    async def _offenders(
        self,
        landing: _Landing,
        batch: delivery.SinkBatch,
        encoded: binary.Tuples,
        error: asyncpg.PostgresError,
        ends: float,
    ) -> list[results.RejectedRow]:
        until = ends - self._seconds * (1 - _SEARCH_SHARE)
        found = await search.refused(landing.connection, encoded, landing.plan, copy=landing.copy, until=until)
        if not found:
            raise _unexplained(batch.table, error) from error
        return found

    async def _plan(self, table: str, schema: pa.Schema) -> statements.Plan:
        """The plan for these columns; one that was not described here is looked up, and the table is not changed."""
        known = self._plans.get(table)
        if known is not None and known[0].equals(schema, check_metadata=False):
            return known[1]
        async with self._connection() as held:
            return await self._prepare(held.connection, table, schema, tables.TablePolicy.VERIFY)

    def _key(self) -> tuple[str, ...]:
        return tuple(self._settings.upsert.key) if self._settings.upsert else ()

    async def _with_versions(self, table: str, rows: pa.Table, places: pa.Table) -> pa.Table:
        """The rows with the columns of `VERSION_COLUMNS`."""
        if places.num_columns == 0:
            raise tables.misconfigured(
                "NO_ADDRESSES", "the rows come without their addresses", "run a batcher of the same version as this sink"
            )
        log_ids = places.column(delivery.LOG_COLUMN)
        generations = {log_id: await self._generation(table, log_id) for log_id in pc.unique(log_ids).to_pylist()}
        number = pc.index_in(log_ids.cast(pa.string()), pa.array(generations, pa.string()))
        versions = [pa.array(list(generations.values()), pa.int64()).take(number.combine_chunks())]
        versions += [places.column(name) for name in (delivery.OFFSET_COLUMN, delivery.ORDINAL_COLUMN, delivery.ITEM_COLUMN)]
        for name, values in zip(postgres_table.VERSION_COLUMNS, versions, strict=True):
            rows = rows.append_column(name, values)
        return rows

    async def _generation(self, table: str, log_id: str) -> int:
        known = self._generations.get((table, log_id))
        if known is None:
            async with self._connection() as held:
                known = await self._journal.generation(held.connection, table, log_id)
            self._generations[table, log_id] = known
        return known


class _Landing:
    """A connection on which rows of one plan are on their way."""

    def __init__(self, connection: asyncpg.Connection, plan: statements.Plan) -> None:
        self.connection, self.plan = connection, plan

    async def copy(self, stream: bytes) -> None:
        """Rows into the staging table."""
        # A bytes object would be taken for a path.
        await self.connection.copy_to_table(
            statements.STAGING_NAME, schema_name="pg_temp", source=memoryview(stream), format="binary"
        )

    async def insert(self) -> None:
        """All of them into the table, with what it checks only at the end."""
        await self.connection.execute(self.plan.insert + "; SET CONSTRAINTS ALL IMMEDIATE")


async def _stage(held: pool.Held, layout: tuple[str, ...]) -> None:
    """Make the connection's staging table for these columns, where it has none or another one."""
    if held.layout != layout:
        await held.connection.execute(statements.staging(layout))
        held.layout = layout


def _apart(rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows as they are to be written, and their addresses where they came with them."""
    carried = [name for name in delivery.ADDRESS_COLUMNS if name in rows.column_names]
    return rows.drop_columns(carried), rows.select(carried)


def _unfit(error: encode.UnfitValuesError) -> list[results.RejectedRow]:
    found = error.found
    message = f'column "{found.column}": {found.why}'
    return [
        results.RejectedRow(row=int(row), result_class=results.ResultClass.DATA, code="OUT_OF_RANGE", message=message)
        for row in np.asarray(found.rows)
    ]


def _unexplained(table: str, error: asyncpg.PostgresError) -> port.SinkError:
    """The write is refused as a whole although each part of it is accepted."""
    return port.SinkError(
        results.Failure(
            result_class=results.ResultClass.UNCLASSIFIED,
            code=error.sqlstate or type(error).__name__,
            message=f"table {table}: {codes.message(error)}",
        )
    )
