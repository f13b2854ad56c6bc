"""Whether what came out is what had to: both sides as tables of the same types, compared as multisets of rows."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import duckdb


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Rows that are not there, and rows that should not be; `example` is one of either."""

    missing: int
    unexpected: int
    example: str

    def __str__(self) -> str:
        return f"{self.missing:,} rows missing, {self.unexpected:,} unexpected, such as {self.example}"


def difference(expected: pathlib.Path, found: Sequence[pathlib.Path], columns: Mapping[str, str]) -> Difference | None:
    """None when the files `found` (NDJSON, or Parquet by its suffix) hold the rows of the NDJSON file `expected`, in any order.

    Raises duckdb.Error for what can't be read as rows of these columns.
    """
    with _session() as session:
        _load(session, "expected", [expected], columns)
        _load(session, "found", found, columns)
        if _sum(session, "expected") == _sum(session, "found"):
            return None
        missing, unexpected = (_left(session, *pair) for pair in (("expected", "found"), ("found", "expected")))
        return Difference(missing=missing[0], unexpected=unexpected[0], example=str(missing[1] or unexpected[1]))


@contextlib.contextmanager
def _session() -> Iterator[duckdb.DuckDBPyConnection]:
    with contextlib.closing(duckdb.connect(":memory:", config={"threads": "1"})) as session:
        session.execute("SET TimeZone = 'UTC'")
        yield session


def _load(session: duckdb.DuckDBPyConnection, table: str, files: Sequence[pathlib.Path], columns: Mapping[str, str]) -> None:
    declared = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    session.execute(f"CREATE TABLE {table} ({declared})")
    for path in files:
        names = ", ".join(f'"{name}"' for name in columns)
        if path.suffix == ".parquet":
            session.execute(f"INSERT INTO {table} SELECT {names} FROM read_parquet(?)", [str(path)])
        elif path.stat().st_size:
            described = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
            source = f"read_json(?, format = 'newline_delimited', columns = {{{described}}})"
            session.execute(f"INSERT INTO {table} SELECT {names} FROM {source}", [str(path)])


def _sum(session: duckdb.DuckDBPyConnection, table: str) -> tuple[object, ...]:
    return session.execute(f"SELECT count(*), sum(hash(t))::VARCHAR FROM {table} AS t").fetchall()[0]


def _left(session: duckdb.DuckDBPyConnection, one: str, other: str) -> tuple[int, str | None]:
    """How many rows of the one are not in the other, and such a row as text."""
    rest = f"SELECT * FROM {one} EXCEPT ALL SELECT * FROM {other}"
    count, example = session.execute(f"SELECT count(*), any_value(t::VARCHAR) FROM ({rest}) AS t").fetchall()[0]
    return int(count), example
