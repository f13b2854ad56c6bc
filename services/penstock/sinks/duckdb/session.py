"""One opened database: what a write does in it, and what is known about it until it is closed.

Everything here runs on the writer's one thread. What has landed and which tables fit are kept in memory, because nobody
else can write the file meanwhile; after an error that no rule expects the session is thrown away with what it knew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import duckdb
import pyarrow as pa

from penstock.core import addresses, delivery, failpoints, results
from penstock.sinks import offenders, port, tables
from penstock.sinks.duckdb import journal as duckdb_journal
from penstock.sinks.duckdb import store as duckdb_store
from penstock.sinks.duckdb import table as duckdb_table

_DESCRIPTION = delivery.Description(
    identity=delivery.Identity.TRANSACTIONAL,
    identity_reason="landed ranges are committed in the rows' own transaction",
    max_concurrency=1,
    preferred_rows=100_000,
    preferred_bytes=16 * 1024 * 1024,
)


class Session:
    """Describes and writes tables of one database. Failpoints: `inserted`, `journalled`, `committed`."""

    def __init__(self, store: duckdb_store.Store, failpoint: failpoints.Failpoint) -> None:
        self.store = store
        self._connection = store.connection
        self._failpoint = failpoint
        self._landed = duckdb_journal.load(store.connection)
        self._fitting: dict[str, tuple[pa.Schema, frozenset[str]]] = {}

    def prepare(self, table: str, schema: pa.Schema, policy: tables.TablePolicy) -> delivery.Description:
        """See `SinkWriter.describe`."""
        with self.store.transaction():
            columns = duckdb_table.prepare(self._connection, table, schema, policy)
        self._remember(table, schema, columns)
        return _DESCRIPTION

    def write(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        """See `SinkWriter.write`."""
        known = addresses.intersect(batch.ranges, self._landed.of(batch.lane, batch.table))
        if known:
            return delivery.WriteResult(already_landed=known)
        not_null = self._not_null(batch.table, batch.rows.schema)
        rejected = offenders.nulls(batch.rows, not_null)
        if rejected:
            return delivery.WriteResult(rejected=rejected)
        try:
            self._commit(batch)
        except duckdb_store.DATA_ERRORS as error:
            return delivery.WriteResult(rejected=self._offenders(batch, error))
        return delivery.WriteResult(written=batch.rows.num_rows)

    def _commit(self, batch: delivery.SinkBatch) -> None:
        known, ranges = self._landed.of(batch.lane, batch.table), self._landed.after(batch)
        with self._transaction(batch.rows):
            self._insert(batch.table, batch.rows.column_names)
            self._failpoint("inserted")
            duckdb_journal.replace(self._connection, batch.lane, batch.table, known, ranges)
            self._failpoint("journalled")
        self._landed.replace(batch.lane, batch.table, ranges)
        self._failpoint("committed")

    @contextlib.contextmanager
    def _transaction(self, rows: pa.Table, *, keep: bool = True) -> Iterator[None]:
        """A transaction to which the rows are visible. They come and go outside it: an aborted one runs nothing more."""
        self._connection.register(duckdb_table.INCOMING, rows)
        try:
            with self.store.transaction(keep=keep):
                yield
        finally:
            # Where the database has become invalid this fails too, and must not hide why.
            with contextlib.suppress(duckdb.Error):
                self._connection.unregister(duckdb_table.INCOMING)

    def _insert(self, table: str, names: Sequence[str]) -> None:
        columns = ", ".join(map(duckdb_table.quoted_column, names))
        self._connection.execute(
            f"INSERT INTO {duckdb_table.quoted(table)} ({columns}) SELECT {columns} FROM {duckdb_table.INCOMING}"  # noqa: S608 - quoted
        )

    def _offenders(self, batch: delivery.SinkBatch, error: duckdb.Error) -> list[results.RejectedRow]:
        def attempt(rows: offenders.Rows) -> str | None:
            try:
                with self._transaction(batch.rows.take(rows), keep=False):
                    self._insert(batch.table, batch.rows.column_names)
            except duckdb_store.DATA_ERRORS as refusal:
                return duckdb_store.first_line(refusal)
            return None

        found = offenders.find(batch.rows.num_rows, attempt)
        if not found:
            raise _unexplained(batch.table, error) from error
        return found

    def _not_null(self, table: str, schema: pa.Schema) -> frozenset[str]:
        """Columns of `schema` that must not be NULL; checks first whether rows of this schema fit at all."""
        fitting = self._fitting.get(table)
        if fitting is None or not fitting[0].equals(schema):
            incoming = duckdb_table.incoming_types(self._connection, schema)
            self._remember(table, schema, duckdb_table.verified(self._connection, table, incoming))
        return self._fitting[table][1]

    def _remember(self, table: str, schema: pa.Schema, columns: duckdb_table.Columns) -> None:
        self._fitting[table] = schema, frozenset(name for name in schema.names if not columns[name.lower()].nullable)


def _unexplained(table: str, error: duckdb.Error) -> port.SinkError:
    """The write is refused as a whole although each part of it is accepted."""
    return port.SinkError(
        results.Failure(
            result_class=results.ResultClass.UNCLASSIFIED,
            code=type(error).__name__,
            message=f"table {table}: {duckdb_store.first_line(error)}",
        )
    )
