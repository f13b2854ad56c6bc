"""What a database remembers for Penstock, in a schema of its own: which ranges have landed, and which log came after which.

One row per lane, table, log and partition is both the lock that writers of a partition take and the list of what has landed
in it; neighbours are merged, so that a lane without gaps has one stretch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import asyncpg

from penstock.core import addresses, delivery
from penstock.sinks import landed, tables
from penstock.sinks.postgres import table as postgres_table

_CREATE = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.landed (
    lane text NOT NULL, table_name text NOT NULL, log_id text NOT NULL, partition integer NOT NULL,
    stretches bigint[] NOT NULL DEFAULT '{{}}', touched_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lane, table_name, log_id, partition)) WITH (fillfactor = 50);
CREATE TABLE IF NOT EXISTS {schema}.logs (
    table_name text NOT NULL, log_id text NOT NULL, generation bigint NOT NULL,
    PRIMARY KEY (table_name, log_id), UNIQUE (table_name, generation));"""
_LOCK = """
SELECT log_id, partition, stretches FROM {schema}.landed
WHERE lane = $1 AND table_name = $2 AND (log_id, partition) IN (SELECT * FROM unnest($3::text[], $4::integer[]))
ORDER BY log_id, partition FOR UPDATE"""
_ADD = """
INSERT INTO {schema}.landed (lane, table_name, log_id, partition)
SELECT $1::text, $2::text, log_id, partition FROM unnest($3::text[], $4::integer[]) AS wanted (log_id, partition)
ORDER BY log_id, partition ON CONFLICT DO NOTHING"""
_NOTE = """
UPDATE {schema}.landed SET stretches = $5, touched_at = now()
WHERE lane = $1 AND table_name = $2 AND log_id = $3 AND partition = $4"""
_FORGET = "DELETE FROM {schema}.landed WHERE lane <> $1 AND touched_at < now() - interval '1 year'"
_GENERATION = """
INSERT INTO {schema}.logs (table_name, log_id, generation)
SELECT $1::text, $2::text, coalesce(max(generation), 0) + 1 FROM {schema}.logs WHERE table_name = $1
ON CONFLICT (table_name, log_id) DO NOTHING"""

_LOCK_KEY = 0x50_65_6E_73
"""Of the advisory lock under which what is missing is made: IF NOT EXISTS alone fails when two do it at once."""


class Journal:
    """The tables of one `stateSchema`. Every call runs on the caller's connection, those of a write in its transaction."""

    def __init__(self, state_schema: str) -> None:
        self._name = state_schema
        self._schema = postgres_table.quoted(state_schema)

    async def prepare(self, connection: asyncpg.Connection, lane: str) -> None:
        """Make what is missing, and forget other lanes that have not landed anything for a year. Raises SinkError."""
        known = await connection.fetchval("SELECT to_regclass($1)", f"{self._schema}.logs")
        if known is None:
            try:
                async with connection.transaction():
                    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
                    await connection.execute(self._sql(_CREATE))
            except asyncpg.InsufficientPrivilegeError as error:
                raise self._not_allowed(str(error)) from error
        await connection.execute(self._sql(_FORGET), lane)

    async def lock(self, connection: asyncpg.Connection, batch: delivery.SinkBatch) -> list[addresses.Range]:
        """Take the rows of the batch's partitions, always in one order, and answer what has landed in them."""
        partitions = sorted({item.lane_key for item in batch.ranges})
        arguments = batch.lane, batch.table, [log for log, _ in partitions], [number for _, number in partitions]
        rows = await connection.fetch(self._sql(_LOCK), *arguments)
        if len(rows) < len(partitions):
            await connection.execute(self._sql(_ADD), *arguments)
            rows = await connection.fetch(self._sql(_LOCK), *arguments)
        return [item for row in rows for item in _ranges(row["log_id"], row["partition"], row["stretches"])]

    async def note(self, connection: asyncpg.Connection, batch: delivery.SinkBatch, known: Sequence[addresses.Range]) -> None:
        """Add the batch's ranges to `known`, what `lock` has answered, folded below the watermark."""
        mine = {item.lane_key for item in batch.ranges}
        marks = [mark for mark in batch.finished_below if (mark.log_id, mark.partition) in mine]
        after = landed.fold(known, batch.ranges, marks)
        for (log_id, partition), found in itertools.groupby(after, key=lambda item: item.lane_key):
            stretches = [number for item in found for number in _numbers(item)]
            await connection.execute(self._sql(_NOTE), batch.lane, batch.table, log_id, partition, stretches)

    async def generation(self, connection: asyncpg.Connection, table: str, log_id: str) -> int:
        """The number of this log among those whose rows have come to the table, from 1; a new one gets the next."""
        select = f"SELECT generation FROM {self._schema}.logs WHERE table_name = $1 AND log_id = $2"  # noqa: S608 - quoted
        found = await connection.fetchval(select, table, log_id)
        if found is None:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK_KEY)
                await connection.execute(self._sql(_GENERATION), table, log_id)
                found = await connection.fetchval(select, table, log_id)
        return int(found)

    def _sql(self, template: str) -> str:
        return template.format(schema=self._schema)

    def _not_allowed(self, said: str) -> Exception:
        sql = " ".join(self._sql(_CREATE).split())
        return tables.misconfigured(
            "STATE_SCHEMA", f"what has landed can't be noted in schema {self._name}: {said}", f"let the owner run: {sql}"
        )


def _ranges(log_id: str, partition: int, stretches: Sequence[int]) -> list[addresses.Range]:
    places = [addresses.Position(*stretches[at : at + 3]) for at in range(0, len(stretches), 3)]
    return [addresses.Range(log_id, partition, start, end) for start, end in zip(places[::2], places[1::2], strict=True)]


def _numbers(item: addresses.Range) -> tuple[int, ...]:
    start, end = item.start, item.end
    return start.offset, start.ordinal, start.item, end.offset, end.ordinal, end.item
