"""Rows as JSON text, the same for every destination that takes it: files of lines, and requests over HTTP."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from penstock.sinks import json_values

# Rows whose text is put together at once; it is held twice meanwhile.
_SLICE_ROWS = 8_192
_END = b"\n"
_EPOCH = datetime.date(1970, 1, 1)
_FIRST_DAY, _LAST_DAY = ((edge - _EPOCH).days for edge in (datetime.date.min, datetime.date.max))


def write_lines(rows: pa.Table, out: pa.BufferOutputStream) -> None:
    """One JSON object per line, written as `json_values` says. Raises OverflowError for a day of no four-digit year."""
    for batch in rows.to_batches(max_chunksize=_SLICE_ROWS):
        for column in batch.columns:
            _check_days(column)
        objects = json_values.objects(rows.column_names, batch.columns, batch.num_rows)
        whole = pa.LargeListArray.from_arrays(pa.array([0, batch.num_rows], pa.int64()), objects)
        joined = pc.binary_join(whole, pa.scalar(_END, pa.large_binary()))
        out.write(joined[0].as_buffer())
        out.write(_END)


def lines(rows: pa.Table) -> bytes:
    """What `write_lines` writes."""
    out = pa.BufferOutputStream()
    write_lines(rows, out)
    return bytes(out.getvalue().to_pybytes())


def array(rows: pa.Table) -> bytes:
    """The same objects in one JSON array."""
    # Inside a string a line feed is written as an escape: one that stands bare can only end an object.
    return b"[" + lines(rows).removesuffix(_END).replace(_END, b",") + b"]"


def _check_days(column: pa.Array[Any]) -> None:
    kind = column.type
    if pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            _check_days(pc.struct_field(column, index))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _check_days(column.flatten())
    elif pa.types.is_date(kind):
        edges = pc.min_max(column.cast(pa.date32()).cast(pa.int32())).as_py()
        if edges["min"] is not None and not _FIRST_DAY <= edges["min"] <= edges["max"] <= _LAST_DAY:
            raise OverflowError("a date beyond the calendar can't be written as text")
