"""Which rows of a refused write the store refuses, found by trying parts of it.

Exact but slow, and rare: a write that is refused costs a few trials per bad row. `attempt` tries rows and undoes them, and
answers with the store's message or None. The budget bounds one search, not the verdict: what is not found now is found when
the rest comes again, and each search that can find anything finds at least one row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core import results

Rows = npt.NDArray[np.int64]
Attempt = Callable[[Rows], str | None]


def find(rows: int, attempt: Attempt, *, trials: int = 200) -> list[results.RejectedRow]:
    """The refused rows among `rows` in ascending order; empty when every part that was tried is accepted.

    Rows that are bad by themselves are found by halving. If there are none, the write fails because of two rows together
    (a key that comes twice): then the later one is refused.
    """
    limited = _Limited(attempt, trials)
    everything = np.arange(rows, dtype=np.int64)
    found = list(_alone(everything, limited)) or list(_together(everything, limited))
    return [_rejected(row, message) for row, message in found]


def nulls(rows: pa.Table, columns: Collection[str]) -> list[results.RejectedRow]:
    """Rows with a NULL in one of `columns`: the commonest refusal, found without a single trial."""
    found: dict[int, str] = {}
    for name in columns:
        column = rows.column(name)
        if column.null_count:
            for row in np.flatnonzero(pc.is_null(column).to_numpy()):
                found.setdefault(int(row), f'column "{name}" must not be NULL')
    return [_rejected(row, found[row]) for row in sorted(found)]


class _Limited:
    """Trials that come to an end: a spent budget looks like rows that are accepted."""

    def __init__(self, attempt: Attempt, trials: int) -> None:
        self._attempt = attempt
        self._left = trials

    @property
    def spent(self) -> bool:
        return self._left <= 0

    def __call__(self, rows: Rows) -> str | None:
        self._left -= 1
        return None if self._left < 0 else self._attempt(rows)


def _alone(rows: Rows, attempt: _Limited) -> Iterator[tuple[int, str]]:
    """Halve a stretch that is refused as a whole, first half first."""
    if len(rows) <= 1 or attempt.spent:
        message = attempt(rows) if len(rows) else None
        if message is not None:
            yield int(rows[0]), message
        return
    middle = len(rows) // 2
    first, second = rows[:middle], rows[middle:]
    if attempt(first) is None:
        # If each row stands for itself it must be the second half's fault: no trial is needed to know it.
        yield from _alone(second, attempt)
        return
    yield from _alone(first, attempt)
    if attempt(second) is not None:
        yield from _alone(second, attempt)


def _together(rows: Rows, attempt: _Limited) -> Iterator[tuple[int, str]]:
    """The first row that makes its predecessors fail, then the next one without it, and so on."""
    accepted = 0
    while not attempt.spent:
        conflict = _first_conflict(rows, accepted, attempt)
        if conflict is None:
            return
        accepted, message = conflict
        yield int(rows[accepted]), message
        rows = np.delete(rows, accepted)


def _first_conflict(rows: Rows, accepted: int, attempt: _Limited) -> tuple[int, str] | None:
    """(index into `rows`, message): rows before it are accepted together, with it they are not."""
    low, high, message = accepted, len(rows), attempt(rows)
    while message is not None and high - low > 1:
        middle = (low + high) // 2
        refused = attempt(rows[:middle])
        if attempt.spent:
            return None
        low, high, message = (middle, high, message) if refused is None else (low, middle, refused)
    return None if message is None else (high - 1, message)


def _rejected(row: int, message: str) -> results.RejectedRow:
    return results.RejectedRow(row=row, result_class=results.ResultClass.DATA, code="ROW_REFUSED", message=message)
