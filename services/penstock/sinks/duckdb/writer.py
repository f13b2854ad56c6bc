"""The DuckDB destination: rows and the ranges they were made from, in one transaction.

Identity is Transactional: what has landed is written down with the rows, so a retry by whatever process is answered from
the same file that holds the rows. One writer per table is enough of a lock: DuckDB itself lets one process open the file.
"""

from __future__ import annotations

import asyncio
import pathlib
from collections.abc import Callable
from typing import TypeVar

import duckdb
import pyarrow as pa

from penstock.core import delivery, failpoints
from penstock.sinks import port, tables, turns
from penstock.sinks.duckdb import query as duckdb_query
from penstock.sinks.duckdb import session as duckdb_session
from penstock.sinks.duckdb import store as duckdb_store

T = TypeVar("T")


class DuckDBWriter:
    """Writes to one database file; a `SinkWriter`. All its work but queries is done on one thread.

    The default policy creates the table: the file is usually the pipeline's own, made by its first run, and creating what
    is missing changes nothing that exists. Failpoints: `inserted`, `journalled`, `committed`.
    """

    def __init__(
        self,
        path: pathlib.Path,
        *,
        table_policy: tables.TablePolicy = tables.TablePolicy.CREATE_IF_MISSING,
        failpoint: failpoints.Failpoint = failpoints.nothing,
    ) -> None:
        """Nothing is opened yet: a file that another process holds is an outage of the calls, not of the start."""
        self._path = path
        self._policy = table_policy
        self._failpoint = failpoint
        self._session: duckdb_session.Session | None = None
        self._writes = turns.Turns("duckdb-write")
        self._reads = turns.Turns("duckdb-read")

    async def describe(self, lane: str, table: str, schema: pa.Schema) -> delivery.Description:
        """See `SinkWriter`."""
        return await self._writes.run(lambda: self._guarded(lambda session: session.prepare(table, schema, self._policy)))

    async def write(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        """See `SinkWriter`."""
        return await self._writes.run(lambda: self._guarded(lambda session: session.write(batch)))

    async def query(self, sql: str) -> pa.Table:
        """See `SinkWriter`. Sees what has landed before it began; a query that runs for too long is interrupted."""
        connection = await self._writes.run(lambda: self._guarded(lambda session: session.store.reader()))
        timer = asyncio.get_running_loop().call_later(duckdb_query.LIMIT_SECONDS, connection.interrupt)
        try:
            return await self._reads.run(lambda: duckdb_query.run(connection, sql))
        finally:
            timer.cancel()

    async def close(self) -> None:
        """See `SinkWriter`."""
        await self._reads.close(lambda: None)
        await self._writes.close(self._drop)

    def _guarded(self, work: Callable[[duckdb_session.Session], T]) -> T:
        """Run on the writing thread. What DuckDB raises and no rule of the work has caught becomes a SinkError."""
        try:
            if self._session is None:
                self._session = self._open()
            return work(self._session)
        except duckdb.Error as error:
            # The outcome is unknown and the instance may be invalid: the next call reads the truth from the file.
            self._drop()
            raise duckdb_store.classify(self._path, error) from error
        except port.SinkError:
            raise
        except OSError as error:
            self._drop()
            raise tables.unavailable(type(error).__name__, f"{self._path}: {error}", "mend the disk") from error
        except BaseException:
            self._drop()
            raise

    def _open(self) -> duckdb_session.Session:
        if self._policy is tables.TablePolicy.VERIFY and not self._path.exists():
            raise tables.misconfigured(
                "NO_DATABASE", f"there is no database {self._path}", "create it, or set tablePolicy: CreateIfMissing"
            )
        return duckdb_session.Session(duckdb_store.Store(self._path), self._failpoint)

    def _drop(self) -> None:
        if self._session is not None:
            self._session.store.close()
            self._session = None
