"""Rows as JSON text, the same for every destination that takes it: files of lines, and requests over HTTP."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

# Rows turned into Python objects at once; they take some 100 times the room of their columns.
_SLICE_ROWS = 1_024


def write_lines(rows: pa.Table, out: pa.BufferOutputStream) -> None:
    """One JSON object per line: times in RFC 3339, decimals as numbers, bytes in Base64, NaN and infinities as null."""
    encoder = msgspec.json.Encoder(decimal_format="number")
    names = rows.column_names
    for batch in rows.to_batches(max_chunksize=_SLICE_ROWS):
        columns = [_plain(column).to_pylist() for column in batch.columns]
        out.write(encoder.encode_lines([dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]))


def lines(rows: pa.Table) -> bytes:
    """What `write_lines` writes."""
    out = pa.BufferOutputStream()
    write_lines(rows, out)
    return bytes(out.getvalue().to_pybytes())


def array(rows: pa.Table) -> bytes:
    """The same objects in one JSON array."""
    # Inside a string a line feed is written as an escape: one that stands bare can only end an object.
    return b"[" + lines(rows).removesuffix(b"\n").replace(b"\n", b",") + b"]"


def _plain(column: pa.Array[Any]) -> pa.Array[Any]:
    """Times as text: Arrow writes it five times as fast as Python, and keeps nanoseconds."""
    if not pa.types.is_timestamp(column.type):
        return column
    if column.type.tz is None:
        return pc.strftime(column, format="%Y-%m-%dT%H:%M:%S")
    utc: pa.Array[Any] = column.cast(pa.timestamp(column.type.unit, "UTC"))
    return pc.strftime(utc, format="%Y-%m-%dT%H:%M:%SZ")
