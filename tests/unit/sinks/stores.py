"""Sessions of each store, and what stands in them afterwards."""

from __future__ import annotations

import json
import pathlib

import pyarrow.parquet as pq
from tests.unit.sinks import writes

from penstock.core import failpoints
from penstock.sinks import tables
from penstock.sinks.duckdb import session as duckdb_session
from penstock.sinks.duckdb import store as duckdb_store
from penstock.sinks.files import formats as files_format
from penstock.sinks.files import session as files_session

STORES = ("DuckDB", "Parquet", "Ndjson")


def open_session(
    store: str,
    root: pathlib.Path,
    *,
    failpoint: failpoints.Failpoint = failpoints.nothing,
    partitions: tuple[str, ...] = (),
):
    """A session on what is in `root`; DuckDB has no partitions."""
    if store == "DuckDB":
        return duckdb_session.Session(duckdb_store.Store(root / "out.db"), failpoint)
    return files_session.Session(root, format_=files_format.Format(store), partitions=partitions, failpoint=failpoint)


def prepare(store: str, session, table: str = "clicks") -> None:
    """Describe the table of `writes.numbered`."""
    schema = writes.numbered(0, 0).schema
    if store == "DuckDB":
        session.prepare(table, schema, tables.TablePolicy.CREATE_IF_MISSING)
    else:
        session.describe(schema)


def close(store: str, session) -> None:
    (session.store if store == "DuckDB" else session).close()


def landed_ids(store: str, root: pathlib.Path, table: str = "clicks") -> list[int]:
    """The ids of all rows, sorted; nothing must have the store open."""
    if store == "DuckDB":
        opened = duckdb_store.Store(root / "out.db")
        try:
            return [row[0] for row in opened.connection.execute(f"SELECT id FROM {table} ORDER BY id").fetchall()]
        finally:
            opened.close()
    if store == "Parquet":
        found = [pq.read_table(file, partitioning=None).column("id").to_pylist() for file in root.rglob("*.parquet")]
    else:
        lines = [file.read_text().splitlines() for file in root.rglob("*.ndjson")]
        found = [[json.loads(line)["id"] for line in part] for part in lines]
    return sorted(number for part in found for number in part)
