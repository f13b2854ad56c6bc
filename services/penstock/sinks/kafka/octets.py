"""Columns of bytes: variable-length integers and values put together for all rows at once, without a step per row.

Both Kafka's records and Avro write integers in zigzag form, seven bits to a byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes: TypeAlias = "pa.Array[Any]"
"""Of Arrow type binary, without nulls."""
Integers = npt.NDArray[np.int64]

_SEVEN, _SEVEN_BITS = np.uint64(7), np.uint64(0x7F)
_MORE = np.uint8(0x80)


def zigzag(*values: Integers) -> Bytes:
    """The values of each row as variable-length integers one after the other, small magnitudes in few bytes. At least one."""
    digits: list[npt.NDArray[np.uint8]] = []
    kept: list[npt.NDArray[np.bool_]] = []
    sizes = np.zeros(len(values[0]), dtype=np.int64)
    for column in values:
        rest, here = _unsigned(column), np.ones(len(column), dtype=bool)
        while True:
            more = rest > _SEVEN_BITS
            digits.append((rest & _SEVEN_BITS).astype(np.uint8) | more.view(np.uint8) * _MORE)
            kept.append(here)
            sizes += here
            if not more.any():
                break
            rest, here = rest >> _SEVEN, more
    data = np.stack(digits, axis=1)[np.stack(kept, axis=1)]
    return _column(np.concatenate([[0], np.cumsum(sizes)]), data)


def sizes_of(values: Integers) -> Integers:
    """How many bytes `zigzag` makes of each."""
    rest = _unsigned(values)
    sizes = np.ones(len(values), dtype=np.int64)
    while (rest := rest >> _SEVEN).any():
        sizes += rest > 0
    return sizes


def fixed(values: npt.NDArray[Any]) -> Bytes:
    """Each value as it lies in memory."""
    width = values.dtype.itemsize
    offsets = np.arange(len(values) + 1, dtype=np.int64) * width
    return _column(offsets, np.ascontiguousarray(values).view(np.uint8))


def joined(*parts: Bytes | bytes) -> Bytes:
    """Row by row one after the other; a part that is one value stands in every row. At least one part is a column."""
    merged: list[Bytes | bytes] = []
    for part in parts:
        if isinstance(part, bytes) and merged and isinstance(merged[-1], bytes):
            merged[-1] += part
        else:
            merged.append(part)
    scalars = [pa.scalar(part, pa.large_binary()) if isinstance(part, bytes) else part for part in merged]
    return pc.binary_join_element_wise(*scalars, pa.scalar(b"", pa.large_binary()))


def lengths(column: Bytes) -> Integers:
    """Bytes of each value; 0 for a null."""
    if column.null_count:
        return np.asarray(pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False), dtype=np.int64)
    return np.diff(_offsets(column))


def total_lengths(parts: Sequence[Bytes | bytes], rows: int) -> Integers:
    """Bytes that the parts make together in each row; 0 for a null."""
    fixed = sum(len(part) for part in parts if isinstance(part, bytes))
    return sum((lengths(part) for part in parts if not isinstance(part, bytes)), np.full(rows, fixed, np.int64))


def prefixed(column: Bytes) -> Bytes:
    """Each value after its length."""
    return joined(zigzag(lengths(column)), column)


def as_bytes(column: pa.Array[Any]) -> Bytes:
    """Text or bytes as the one type that is joined here; nulls stay."""
    return column if column.type == pa.large_binary() else column.cast(pa.large_binary())


def _offsets(column: Bytes) -> Integers:
    """Where each value begins in the column's data, and where the last one ends."""
    buffer = column.buffers()[1]
    if buffer is None or not len(column):
        return np.zeros(1, np.int64)
    return np.frombuffer(buffer, np.int64)[column.offset : column.offset + len(column) + 1]


def _unsigned(values: Integers) -> npt.NDArray[np.uint64]:
    return ((values << 1) ^ (values >> 63)).view(np.uint64)


def _column(offsets: Integers, data: npt.NDArray[np.uint8]) -> Bytes:
    buffers = [None, pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
