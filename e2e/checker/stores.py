"""Reading the stores: thin edges between what a sink left behind and `found.Row`.

`columns` are the row's content in the order its digest was made of; the first is the event's id, `place` the item's ordinal.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
from pyarrow import dataset

from e2e.checker import found, history


def duckdb_rows(path: pathlib.Path, table: str, columns: Sequence[str], place: str) -> list[found.Row]:
    """In the order they landed. Nothing may write the file meanwhile; what a kill left in its journal is read too."""
    if not path.exists():
        return []
    chosen = ", ".join(f'"{column}"' for column in columns)
    with contextlib.closing(duckdb.connect(str(path), read_only=True)) as connection:
        fetched = connection.execute(f'SELECT {chosen} FROM "{table}" ORDER BY rowid').fetchall()
    return rows((dict(zip(columns, values, strict=True)) for values in fetched), columns, place)


def files_rows(root: pathlib.Path, columns: Sequence[str], place: str) -> list[found.Row]:
    """Of all Parquet files below `root` but Penstock's own; one that can't be read is an error."""
    files = [str(path) for path in root.rglob("*.parquet") if "_penstock" not in path.parts]
    if not files:
        return []
    table = dataset.dataset(files, partitioning=None).to_table(columns=list(columns))
    return rows(table.to_pylist(), columns, place)


def rows(values: Iterable[Mapping[str, Any]], columns: Sequence[str], place: str) -> list[found.Row]:
    """Rows as mappings, such as an endpoint was sent."""
    return [
        found.Row(
            id=str(one[columns[0]]),
            place=str(one.get(place) or 0),
            digest=history.digest([one.get(column) for column in columns]),
        )
        for one in values
    ]
