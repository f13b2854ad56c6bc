"""Rows that come one after the other with the same values, as those do that were one event: what is made of these values is
made once a run.

Nothing is told by whoever sends the rows; neighbours are compared, which costs a twentieth of making text of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Column: TypeAlias = "pa.Array[Any]"
Index = npt.NDArray[np.int64]

_SAMPLE_ROWS = 512
# Of neighbours in a column, and of rows in all: below that nothing is gained.
_LEAST_SAME, _MOST_RUNS = 0.5, 0.6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """`firsts` are the rows that begin one, `of_row` is each row's; `columns` have one value in all of a run, by their place."""

    firsts: Index
    of_row: Index
    columns: frozenset[int]

    def once(self, column: Column) -> Column:
        """A value a run."""
        return column.take(pa.array(self.firsts))

    def spread(self, column: Column) -> Column:
        """Of a value a run, one a row."""
        return column.take(pa.array(self.of_row))


def find(columns: Sequence[Column]) -> Runs | None:
    """None where too few neighbours are the same. Columns that repeat less than others stay out of it."""
    repeating = [place for place, column in enumerate(columns) if _repeats(column)]
    if not repeating:
        return None
    changes = np.logical_or.reduce([_changes(columns[place]) for place in repeating])
    of_row = np.concatenate([[0], np.cumsum(changes)])
    if of_row[-1] + 1 > len(of_row) * _MOST_RUNS:
        return None
    return Runs(firsts=np.concatenate([[0], np.flatnonzero(changes) + 1]), of_row=of_row, columns=frozenset(repeating))


def _repeats(column: Column) -> bool:
    if len(column) < 2 or not _is_comparable(column.type):
        return False
    sample = column.slice(0, _SAMPLE_ROWS)
    return bool(np.count_nonzero(~_changes(sample)) >= (len(sample) - 1) * _LEAST_SAME)


def _is_comparable(kind: pa.DataType) -> bool:
    """Types whose equal values are written alike: a zero with a sign equals the one without."""
    simple = pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_boolean(kind)
    return bool(simple or pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_large_binary(kind))


def _changes(column: Column) -> npt.NDArray[np.bool_]:
    """Which rows, from the second on, have another value than the one before; none is none's equal."""
    same = pc.fill_null(pc.equal(column[1:], column[:-1]), pa.scalar(value=False))
    return ~np.asarray(same.to_numpy(zero_copy_only=False), np.bool_)
