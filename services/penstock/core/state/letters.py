"""What an event found of its key, kept with its dead letter: a replay comes too late to find it again.

One row as an Arrow stream, so each value has its type and comes back exactly. A value whose name or type is another one by
then is NULL, as all are in letters that were written without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from penstock.core.state import spec

MOST_BYTES = 28_000
"""Sixteen texts of 1,024 bytes fit. Anything larger is no letter's state, and none is written."""


def encode(seen: pa.Table, row: int) -> bytes:
    """One event's values; `seen` has a column for each, by its name."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, seen.schema) as writer:
        writer.write_table(seen.slice(row, 1).combine_chunks())
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded if len(encoded) <= MOST_BYTES else b""


def decode(told: spec.StateSpec, found: Sequence[bytes]) -> list[pa.Array[Any]]:
    """A column for each value, with one entry for each letter."""
    rows = [_row(one) for one in found]
    return [pa.array([_value(row, value) for row in rows], value.column.type) for value in told.values]


def _row(encoded: bytes) -> pa.RecordBatch | None:
    if not encoded or len(encoded) > MOST_BYTES:
        return None
    try:
        batches = list(pa.ipc.open_stream(encoded))
        for batch in batches:
            batch.validate(full=True)
    except (pa.ArrowException, OSError):
        return None
    return batches[0] if len(batches) == 1 and batches[0].num_rows == 1 else None


def _value(row: pa.RecordBatch | None, value: spec.Value) -> object:
    if row is None:
        return None
    at = row.schema.get_field_index(value.name)
    return row.column(at)[0].as_py() if at >= 0 and row.schema.field(at).type == value.column.type else None
