"""The kinds of values: each sees a block sorted by key, answers what stood before each event, and takes the block in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core.state import runs as block_runs
from penstock.core.state import spec, stores

Rows = npt.NDArray[np.int64]
Array: TypeAlias = "pa.Array[Any]"


class Column(Protocol):
    """One value of all keys, by row. `see` is told every block once, in order of position."""

    @property
    def memory_bytes(self) -> int: ...

    @property
    def unkept(self) -> int:
        """Values that were too long to remember."""

    def grow(self, rows: int) -> None: ...

    def keep(self, rows: Rows) -> None: ...

    def see(self, runs: block_runs.Runs, batch: pa.RecordBatch) -> Array:
        """What each event of the block finds; NULL for events that take no part."""

    def dump(self, rows: int) -> list[Array]:
        """The first rows' state, for `load` of a fresh column of the same kind."""

    def load(self, arrays: Sequence[Array]) -> None: ...


def column(value: spec.Value) -> Column:
    """An empty one."""
    match value.kind:
        case spec.Kind.COUNT:
            return Count()
        case spec.Kind.SUM:
            return Sum(value)
        case spec.Kind.LAST:
            return Last(value)


def parts(value: spec.Value) -> list[pa.DataType]:
    """The types of what `dump` gives."""
    if value.kind is spec.Kind.LAST:
        return [value.column.type]
    return [pa.int64()] * (2 if value.kind is spec.Kind.SUM else 1)


class Count:
    """Events of the key before this one."""

    unkept = 0

    def __init__(self) -> None:
        self._counts = np.zeros(0, np.int64)

    @property
    def memory_bytes(self) -> int:
        return self._counts.nbytes

    def grow(self, rows: int) -> None:
        self._counts = stores.grown(self._counts, rows)

    def keep(self, rows: Rows) -> None:
        self._counts = self._counts[rows]

    def see(self, runs: block_runs.Runs, batch: pa.RecordBatch) -> Array:
        before = self._counts[runs.row] + np.arange(len(runs.row)) - runs.start
        self._counts[runs.rows] = before[runs.ends] + 1
        return runs.integers(before)

    def dump(self, rows: int) -> list[Array]:
        return [pa.array(self._counts[:rows])]

    def load(self, arrays: Sequence[Array]) -> None:
        self._counts = arrays[0].to_numpy().copy()


_HALF_BITS = np.int64(32)
_HALF = np.int64((1 << 32) - 1)
_LARGEST_HIGH = 1 << 31


class Sum:
    """The sum of a field over the key's events before this one, NULLs left out, 0 at first; NULL where 64 bits don't hold it.

    Upper and lower halves are added up apart, so that the sum itself is never wrong: it comes back when it fits again.
    """

    unkept = 0

    def __init__(self, value: spec.Value) -> None:
        self._field = value.field
        self._high, self._low = np.zeros(0, np.int64), np.zeros(0, np.int64)

    @property
    def memory_bytes(self) -> int:
        return self._high.nbytes + self._low.nbytes

    def grow(self, rows: int) -> None:
        self._high, self._low = stores.grown(self._high, rows), stores.grown(self._low, rows)

    def keep(self, rows: Rows) -> None:
        self._high, self._low = self._high[rows], self._low[rows]

    def see(self, runs: block_runs.Runs, batch: pa.RecordBatch) -> Array:
        given = batch.column(self._field).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)[runs.place]
        high, low = given >> _HALF_BITS, given & _HALF
        before_high, before_low = _carried(
            _sums_before(high, runs) + self._high[runs.row], _sums_before(low, runs) + self._low[runs.row]
        )
        ends = runs.ends
        self._high[runs.rows], self._low[runs.rows] = _carried(before_high[ends] + high[ends], before_low[ends] + low[ends])
        fits = (before_high >= -_LARGEST_HIGH) & (before_high < _LARGEST_HIGH)
        return runs.integers((before_high << _HALF_BITS) | before_low, fits)

    def dump(self, rows: int) -> list[Array]:
        return [pa.array(self._high[:rows]), pa.array(self._low[:rows])]

    def load(self, arrays: Sequence[Array]) -> None:
        self._high, self._low = (array.to_numpy().copy() for array in arrays)


def _sums_before(values: Rows, runs: block_runs.Runs) -> Rows:
    total = np.cumsum(values) - values
    before: Rows = total - total[runs.start]
    return before


def _carried(high: Rows, low: Rows) -> tuple[Rows, Rows]:
    return high + (low >> _HALF_BITS), low & _HALF


class Last:
    """The field's last value that wasn't NULL, before this event."""

    def __init__(self, value: spec.Value) -> None:
        self._field = value.field
        self._store = stores.store(value.column.type)
        self._bounded = stores.is_text(value.column.type)
        self._kind = value.column.type
        self.unkept = 0

    @property
    def memory_bytes(self) -> int:
        return self._store.memory_bytes

    def grow(self, rows: int) -> None:
        self._store.grow(rows)

    def keep(self, rows: Rows) -> None:
        self._store.keep(rows)

    def see(self, runs: block_runs.Runs, batch: pa.RecordBatch) -> Array:
        given = batch.column(self._field)
        written = _valid(given)[runs.place]
        values = self._kept(given, runs)
        index = np.arange(len(written))
        latest = np.maximum.accumulate(np.where(written, index, -1))
        before = np.empty_like(latest)
        before[0], before[1:] = -1, latest[:-1]
        inside = before >= runs.start
        # What was known before the block stands behind the block's own values.
        source = np.where(inside, runs.place[before], len(values) + runs.run)
        known = pa.concat_arrays([values, self._store.get(runs.rows)])
        found: Any = pa.array(runs.in_block_order(source), pa.int64(), mask=runs.absent)
        seen = known.take(found)
        final = latest[runs.ends]
        changed = np.flatnonzero(final >= runs.start[runs.ends])
        self._store.put(runs.rows[changed], values.take(pa.array(runs.place[final[changed]])))
        return seen

    def _kept(self, given: Array, runs: block_runs.Runs) -> Array:
        """The values as they are remembered: one that is too long is NULL."""
        if not self._bounded:
            return given
        long: Any = pc.fill_null(pc.greater(pc.binary_length(given), spec.MOST_VALUE_BYTES), False)
        marked = long.to_numpy(zero_copy_only=False)
        if not marked.any():
            return given
        self.unkept += int(np.count_nonzero(marked[runs.place]))
        return pc.if_else(long, pa.scalar(None, self._kind), given)

    def dump(self, rows: int) -> list[Array]:
        return [self._store.get(np.arange(rows))]

    def load(self, arrays: Sequence[Array]) -> None:
        rows = np.arange(len(arrays[0]))
        self._store.grow(len(rows))
        self._store.put(rows, arrays[0])


def _valid(column_: Array) -> npt.NDArray[np.bool_]:
    return np.asarray(column_.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
