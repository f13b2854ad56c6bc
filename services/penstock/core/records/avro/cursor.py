"""A place in each of many records at once: what is read, is read of all of them together.

Whatever the bytes say, no place leaves its record: one that would is noted as broken, and stands still at its end.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PADDING = 16
"""Bytes behind the last record, so that a look at its end is a look at nothing."""
_VARINT_BYTES = 10


class Faults:
    """Why records are refused: for each the first reason, with the field it was met at."""

    def __init__(self) -> None:
        self.found: dict[int, tuple[str, str]] = {}

    def note(self, rows: Index, field: str, reason: str) -> None:
        for row in rows.tolist():
            self.found.setdefault(row, (field, reason))


@dataclasses.dataclass(slots=True)
class Cursor:
    """`places` and `ends` into `data`, one for each of the records `rows`, ascending."""

    data: npt.NDArray[np.uint8]
    rows: Index
    places: Index
    ends: Index
    faults: Faults

    def __len__(self) -> int:
        return len(self.rows)

    def some(self, chosen: Mask | Index) -> Cursor:
        """Of some of the records; `join` brings back where it has come to."""
        return Cursor(self.data, self.rows[chosen], self.places[chosen], self.ends[chosen], self.faults)

    def join(self, chosen: Mask | Index, part: Cursor) -> None:
        self.places[chosen] = part.places

    def refuse(self, chosen: Mask, field: str, reason: str) -> None:
        """Note it, and go to the end of those."""
        if chosen.any():
            self.faults.note(self.rows[chosen], field, reason)
            self.places[chosen] = self.ends[chosen]

    def bytes(self, count: int, field: str) -> npt.NDArray[np.uint8]:
        """The next `count` bytes of each, as a matrix."""
        found = self.data[np.minimum(self.places, len(self.data) - max(count, 1))[:, None] + np.arange(count)]
        self._on(self.places + count, field)
        return found

    def longs(self, field: str) -> Index:
        """The next number of each: zigzag, seven bits a byte."""
        first = self.data[self.places]
        found = (first & 0x7F).astype(np.uint64)
        places = self.places + 1
        more = np.flatnonzero(first >= 0x80)
        for turn in range(1, _VARINT_BYTES):
            if not len(more):
                break
            # Behind the end of a record stands the next one, or nothing: seen as broken below.
            byte = self.data[np.minimum(places[more], len(self.data) - 1)]
            found[more] |= (byte & 0x7F).astype(np.uint64) << np.uint64(7 * turn)
            places[more] += 1
            more = more[byte >= 0x80]
        if len(more):
            places[more] = self.ends[more] + 1
        self._on(places, field)
        return (found >> np.uint64(1)).astype(np.int64) ^ -(found & np.uint64(1)).astype(np.int64)

    def spans(self, field: str) -> tuple[Index, Index]:
        """Start and end of the next text or bytes of each, whose length stands before."""
        lengths = self.longs(field)
        self.refuse((lengths < 0) | (lengths > self.ends - self.places), field, "a length that goes beyond the record")
        starts = self.places.copy()
        ends = np.where(self.places == self.ends, starts, starts + lengths)
        self.places = ends.copy()
        return starts, ends

    def fixed(self, size: int, field: str) -> tuple[Index, Index]:
        """Start and end of the next `size` bytes of each."""
        starts = self.places.copy()
        self._on(self.places + size, field)
        return starts, self.places.copy()

    def _on(self, places: Index, field: str) -> None:
        broken = places > self.ends
        self.places = np.minimum(places, self.ends)
        if broken.any():
            self.faults.note(self.rows[broken], field, "the record ends in the middle of it")


def octets(data: npt.NDArray[np.uint8], starts: Index, ends: Index) -> pa.BinaryArray:
    """The bytes between; the stretches ascend and don't overlap, so that what lies between them is left out by Arrow."""
    if not len(starts):
        return pa.array([], pa.binary())
    offsets = np.empty(2 * len(starts), dtype=np.int32)
    offsets[0::2], offsets[1::2] = starts, ends
    every = pa.BinaryArray.from_buffers(pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
    return every.take(pa.array(np.arange(0, len(offsets), 2)))
