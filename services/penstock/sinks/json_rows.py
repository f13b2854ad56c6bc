"""Rows as JSON text, the same for every destination that takes it: files of lines, and requests over HTTP."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
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
        out.write(_content(json_values.objects(batch.schema.names, batch.columns, batch.num_rows, ending="\n")))


def _content(texts: pa.Array[Any]) -> pa.Buffer:
    """All of them end to end, as they lie in a column that was just made."""
    _, offsets, data = texts.buffers()
    return data.slice(0, int(np.frombuffer(offsets, np.int64)[len(texts)]))


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
