"""A query's answer as lines of text: a table for people, JSON and CSV for scripts. Nothing is rounded or cut off. Pure."""

from __future__ import annotations

import base64
import csv
import datetime
import decimal
import io
import math
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pyarrow as pa

_NULL = "NULL"


def as_table(answer: pa.Table) -> Iterator[str]:
    """Aligned columns, numbers to the right, and the number of rows."""
    names = answer.column_names
    columns = [[_cell(value) for value in _values(column)] for column in answer.columns]
    widths = [max(map(len, (name, *cells))) for name, cells in zip(names, columns, strict=True)]
    right = [_is_number(column.type) for column in answer.columns]

    def aligned(cells: tuple[str, ...]) -> str:
        padded = (cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(cells, widths, right, strict=True))
        return "  ".join(padded).rstrip()

    yield aligned(tuple(names))
    yield "  ".join("─" * width for width in widths)
    yield from (aligned(cells) for cells in zip(*columns, strict=True))
    yield f"({answer.num_rows:,} row{'' if answer.num_rows == 1 else 's'})"


def as_json(answer: pa.Table) -> Iterator[str]:
    """One array, one object to a line."""
    yield "[" + ",\n ".join(as_objects(answer)) + "]"


def as_objects(answer: pa.Table) -> Iterator[str]:
    """The rows of `as_json`, each by itself."""
    encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode
    return (encode(_for_json(row)).decode() for row in _rows(answer))


def as_csv(answer: pa.Table) -> Iterator[str]:
    """RFC 4180 with a header; NULL is empty."""
    rows = zip(*map(_values, answer.columns), strict=True)
    for cells in (answer.column_names, *(["" if value is None else _cell(value) for value in row] for row in rows)):
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(cells)
        yield line.getvalue()


FORMS: Mapping[str, Callable[[pa.Table], Iterator[str]]] = types.MappingProxyType(
    {"table": as_table, "json": as_json, "csv": as_csv}
)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _values(column: pa.ChunkedArray[Any]) -> list[Any]:
    # Python's times end at microseconds; as text nothing is cut off.
    nanoseconds = pa.types.is_timestamp(column.type) and column.type.unit == "ns"
    values: list[Any] = (column.cast(pa.string()) if nanoseconds else column).to_pylist()
    return values


def _rows(answer: pa.Table) -> list[dict[str, Any]]:
    names = answer.column_names
    return [dict(zip(names, row, strict=True)) for row in zip(*map(_values, answer.columns), strict=True)]


def _cell(value: object) -> str:
    match value:
        case None:
            return _NULL
        case bool():
            return "true" if value else "false"
        case str():
            return value if value.isprintable() else value.encode("unicode_escape").decode()
        case bytes():
            return value.hex()
        case datetime.datetime():
            return value.isoformat(sep=" ")
        case decimal.Decimal():
            return f"{value:f}"
        case dict() | list():
            return msgspec.json.encode(_for_json(value), enc_hook=str).decode()
        case _:
            return str(value)


def _for_json(value: object) -> object:
    """JSON has no infinity, no bytes and no duplicate names; times are ISO 8601."""
    match value:
        case dict():
            return {str(name): _for_json(inner) for name, inner in value.items()}
        case list():
            return [_for_json(inner) for inner in value]
        case float() if not math.isfinite(value):
            return None
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return value
