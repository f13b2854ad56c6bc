"""A block's events sorted by key, each key's in order of position: what every kind of value is worked out over."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_LOW_BITS = np.int64(32)
_LOW = np.int64((1 << 32) - 1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """One run per key of the block. `events` is the block's length, of which only some events may take part.

    Per sorted event: `place` is its ordinal in the block, `row` its key's row, `run` and `start` its run's number and first
    index. Per run: `rows` is the key's row, `ends` the index of its last event.
    """

    events: int
    absent: Mask | None
    place: Index
    row: Index
    run: Index
    start: Index
    rows: Index
    ends: Index

    @classmethod
    def of(cls, rows: Index, ordinals: Index, events: int) -> Runs:
        """`rows` are the rows of the keys of the events at `ordinals`, ascending; at least one."""
        count = len(rows)
        packed = (rows << _LOW_BITS) | np.arange(count)
        packed.sort()
        row = packed >> _LOW_BITS
        first = np.empty(count, bool)
        first[0] = True
        np.not_equal(row[1:], row[:-1], out=first[1:])
        starts = np.flatnonzero(first)
        run = np.cumsum(first) - 1
        absent = None
        if count < events:
            absent = np.ones(events, bool)
            absent[ordinals] = False
        return cls(
            events=events,
            absent=absent,
            place=ordinals[packed & _LOW],
            row=row,
            run=run,
            start=starts[run],
            rows=row[starts],
            ends=np.append(starts[1:], count) - 1,
        )

    def in_block_order(self, values: Index) -> Index:
        """One value per sorted event as one per event of the block; 0 for those that take no part."""
        out = np.zeros(self.events, np.int64)
        out[self.place] = values
        return out

    def integers(self, values: Index, valid: Mask | None = None) -> pa.Array[Any]:
        """One value per sorted event as a column of the block; NULL where `valid` is False or the event takes no part."""
        missing = self.absent
        if valid is not None and not valid.all():
            missing = np.ones(self.events, bool) if missing is None else missing.copy()
            missing[self.place] = ~valid
        return pa.array(self.in_block_order(values), pa.int64(), mask=missing)
