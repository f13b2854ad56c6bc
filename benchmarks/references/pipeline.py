"""The whole job in one plain process: read, check, deduplicate, map, insert; nothing survives its end.

python -m benchmarks.references.pipeline EVENTS.ndjson     prints {"rows", "checksum"}
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks import events
from benchmarks.references import mapping, parsing
from penstock.core.transform import transform

BATCH_ROWS = 20_000
TABLE = "clicks"


def checksum_sql(table: str = TABLE) -> str:
    """The rows in any order as two numbers."""
    return f"SELECT count(*), sum(hash(t))::VARCHAR FROM {table} AS t"


def run(path: pathlib.Path) -> dict[str, Any]:
    """Land the events of a file in a table in memory."""
    made = transform.Transform(events.transform())
    schema = made.output_schema
    made.close()
    connection = duckdb.connect(":memory:", config={"threads": "1"})
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("incoming", schema.empty_table())
    connection.execute(f"CREATE TABLE {TABLE} AS SELECT * FROM incoming")
    batch: list[mapping.Row] = []
    for row in rows(path):
        batch.append(row)
        if len(batch) == BATCH_ROWS:
            _insert(connection, batch, schema)
            batch = []
    _insert(connection, batch, schema)
    count, checksum = connection.execute(checksum_sql()).fetchall()[0]
    return {"rows": count, "checksum": checksum}


def rows(path: pathlib.Path) -> Iterator[mapping.Row]:
    """One event after the other; the window is larger than the file."""
    seen: dict[str, int] = {}
    with path.open("rb") as lines:
        for position, line in enumerate(lines):
            event = parsing.event(line)
            if event["id"] in seen:
                continue
            seen[event["id"]] = position
            row = mapping.mapped(event)
            if row is not None:
                yield row


def _insert(connection: duckdb.DuckDBPyConnection, batch: list[mapping.Row], schema: pa.Schema) -> None:
    connection.register("incoming", pa.Table.from_pylist(batch, schema=schema))
    connection.execute(f"INSERT INTO {TABLE} SELECT * FROM incoming")


if __name__ == "__main__":
    print(json.dumps(run(pathlib.Path(sys.argv[1]))))
