"""Arrow columns as the bytes of Postgres' binary COPY format, column by column.

Nothing here touches a row: numbers become big-endian arrays, text stays where it is, and Arrow joins the pieces of each row
in one pass. The format is that of the COPY reference page ("Binary Format") and of the types' receive functions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Lengths = npt.NDArray[np.int64]

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_NULL = -1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """A column whose values all take `payload.shape[1]` bytes; `valid` is None where none is NULL."""

    payload: Bytes
    valid: Mask | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Varying:
    """A column of an Arrow binary array; `prefix` stands before each value that is not NULL."""

    values: pa.Array[Any]
    prefix: bytes = b""


Field = Fixed | Varying


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tuples:
    """The rows of one COPY, each in its place, so that parts of them can be sent again."""

    rows: int
    _offsets: npt.NDArray[np.int64]
    _data: memoryview

    def stream(self, start: int = 0, stop: int | None = None) -> bytes:
        """Rows `start` up to `stop` as one COPY stream."""
        first, last = self._offsets[start], self._offsets[self.rows if stop is None else stop]
        return b"".join((_SIGNATURE, self._data[first:last], _TRAILER))

    def chosen(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> bytes:
        """These rows as one COPY stream."""
        parts = [self._data[self._offsets[row] : self._offsets[row + 1]] for row in rows]
        return b"".join((_SIGNATURE, *parts, _TRAILER))


def tuples(rows: int, fields: Sequence[Field]) -> Tuples:
    """`fields` as rows."""
    count = Fixed(payload=big_endian(np.full(rows, len(fields), np.int16)))
    joined = _joined(rows, [*_pieces_of(rows, fields, count.payload)])
    offsets, data = _buffers(joined)
    return Tuples(rows=rows, _offsets=offsets, _data=data)


def elements(values: int, field: Field) -> pa.Array[Any]:
    """The values of an array's elements, each with its length before it, as one binary array."""
    return _joined(values, [*_pieces_of(values, [field], None)])


def arrays(lists: pa.ListArray[Any], joined: pa.Array[Any], *, element_oid: int, has_null: bool) -> Varying:
    """One-dimensional arrays from the offsets of `lists` and their `elements`."""
    offsets = lists.offsets.to_numpy().astype(np.int64)
    counts = np.diff(offsets).astype(np.int32)
    places, data = _buffers(joined)
    filled = counts > 0
    head = np.zeros((len(counts), 5), np.int32)
    head[:, 0], head[:, 1], head[:, 2] = filled, has_null, element_oid
    head[:, 3], head[:, 4] = counts, 1
    # An empty array has no dimension: its bytes end after the element's type.
    keep = np.ones((len(counts), 20), bool)
    keep[~filled, 12:] = False
    heads = _masked(big_endian(head).reshape(len(counts), 20), keep)
    starts = places[offsets]
    bodies = pa.Array.from_buffers(pa.binary(), len(counts), [None, pa.py_buffer(starts.astype(np.int32)), pa.py_buffer(data)])
    values = _joined(len(counts), [heads, bodies])
    if lists.null_count:
        values = pc.if_else(pc.is_valid(lists), values, pa.scalar(None, pa.binary()))
    return Varying(values=values)


def big_endian(values: npt.NDArray[Any]) -> Bytes:
    """Numbers as rows of bytes."""
    swapped = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder(">"))
    return swapped.view(np.uint8).reshape(len(values), values.dtype.itemsize * int(np.prod(values.shape[1:])))


def _pieces_of(rows: int, fields: Sequence[Field], head: Bytes | None) -> list[pa.Array[Any]]:
    """What each row is joined from: everything of fixed width between two texts is one piece."""
    found: list[pa.Array[Any]] = []
    blocks: list[tuple[Bytes, Mask | None]] = [] if head is None else [(head, None)]
    for field in fields:
        if isinstance(field, Fixed):
            blocks += _fixed_blocks(rows, field)
            continue
        blocks += _length_blocks(field)
        found += [_together(rows, blocks), field.values]
        blocks = []
    return [*found, _together(rows, blocks)] if blocks else found


def _fixed_blocks(rows: int, field: Fixed) -> list[tuple[Bytes, Mask | None]]:
    width = field.payload.shape[1]
    if field.valid is None:
        return [(big_endian(np.full(rows, width, np.int32)), None), (field.payload, None)]
    lengths = np.where(field.valid, width, _NULL).astype(np.int32)
    return [(big_endian(lengths), None), (field.payload, field.valid)]


def _length_blocks(field: Varying) -> list[tuple[Bytes, Mask | None]]:
    lengths = pc.add(pc.binary_length(field.values), pa.scalar(len(field.prefix), pa.int32()))
    blocks: list[tuple[Bytes, Mask | None]] = [(big_endian(lengths.fill_null(_NULL).to_numpy(zero_copy_only=False)), None)]
    if field.prefix:
        prefix = np.tile(np.frombuffer(field.prefix, np.uint8), (len(field.values), 1))
        valid = pc.is_valid(field.values).to_numpy(zero_copy_only=False) if field.values.null_count else None
        blocks.append((prefix, valid))
    return blocks


def _together(rows: int, blocks: Sequence[tuple[Bytes, Mask | None]]) -> pa.Array[Any]:
    payload = np.concatenate([block for block, _ in blocks], axis=1)
    if all(valid is None for _, valid in blocks):
        width = payload.shape[1]
        fixed = pa.Array.from_buffers(pa.binary(width), rows, [None, pa.py_buffer(payload.reshape(-1))])
        return fixed.cast(pa.binary())
    keep = np.ones(payload.shape, bool)
    at = 0
    for block, valid in blocks:
        if valid is not None:
            keep[~valid, at : at + block.shape[1]] = False
        at += block.shape[1]
    return _masked(payload, keep)


def _masked(payload: Bytes, keep: Mask) -> pa.Array[Any]:
    """The bytes of each row that are kept, as a binary array."""
    offsets = np.zeros(len(payload) + 1, np.int32)
    np.cumsum(keep.sum(axis=1), out=offsets[1:])
    return pa.Array.from_buffers(pa.binary(), len(payload), [None, pa.py_buffer(offsets), pa.py_buffer(payload[keep])])


def _joined(rows: int, pieces: Sequence[pa.Array[Any]]) -> pa.Array[Any]:
    if rows == 0:
        return pa.array([], pa.binary())
    empty = pa.scalar(b"", pa.binary())
    return pc.binary_join_element_wise(*pieces, empty, null_handling="replace", null_replacement=b"")


def _buffers(joined: pa.Array[Any]) -> tuple[npt.NDArray[np.int64], memoryview]:
    """Where each value begins and ends, and the bytes they stand in."""
    if len(joined) == 0:
        return np.zeros(1, np.int64), memoryview(b"")
    _, offsets, data = joined.buffers()
    places = np.frombuffer(offsets, np.int32)[joined.offset : joined.offset + len(joined) + 1].astype(np.int64)
    return places, memoryview(data if data is not None else b"")
