"""The columns of a run: consecutive records of one partition of a topic that others write, as they were read.

A run stands where a block stands in a log of our own: it is read, judged and finished as one. Its events keep the offset of
their own record each, because where a run begins and ends depends on who reads.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

OFFSET = "offset"
TIMESTAMP = "timestamp"
"""As the record has it, in milliseconds: of the broker's clock or of the producer's, as the topic is set; -1 is none."""
KEY = "key"
VALUE = "value"
"""NULL is a tombstone."""
HEADERS = "headers"
"""NULL where a record has none, else as `packed`."""

SCHEMA = pa.schema(
    [
        pa.field(OFFSET, pa.int64()),
        pa.field(TIMESTAMP, pa.int64()),
        pa.field(KEY, pa.binary()),
        pa.field(VALUE, pa.binary()),
        pa.field(HEADERS, pa.binary()),
    ]
)

Integers = npt.NDArray[np.int64]
Headers = Sequence[tuple[str, bytes | None]]


def run(
    offsets: Sequence[int],
    timestamps: Sequence[int],
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
    headers: Sequence[Headers],
) -> pa.RecordBatch:
    """Columns of equal length; timestamps in milliseconds."""
    written = [packed(one) if one else None for one in headers] if any(headers) else None
    return pa.RecordBatch.from_arrays(
        [
            pa.array(np.array(offsets, dtype=np.int64)),
            pa.array(np.array(timestamps, dtype=np.int64)),
            pa.array(keys, pa.binary()),
            pa.array(values, pa.binary()),
            pa.array(written, pa.binary()) if written else pa.nulls(len(offsets), pa.binary()),
        ],
        schema=SCHEMA,
    )


def until(batch: pa.RecordBatch, offset: int) -> pa.RecordBatch:
    """The records below `offset`."""
    return batch.slice(0, int(np.searchsorted(integers(batch, OFFSET), offset)))


def integers(batch: pa.RecordBatch, column: str) -> Integers:
    """Of a column without NULLs."""
    found = batch.column(column)
    return np.frombuffer(found.buffers()[1], np.int64)[found.offset : found.offset + len(found)]


def packed(headers: Headers) -> bytes:
    """A record's headers, in their order, byte for byte."""
    return msgspec.msgpack.encode(headers)


def unpacked(packed_headers: bytes | None) -> list[tuple[str, bytes | None]]:
    """The inverse; none for NULL."""
    return msgspec.msgpack.decode(packed_headers, type=list[tuple[str, bytes | None]]) if packed_headers else []
