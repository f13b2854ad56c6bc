"""When a slow write is sent a second time, to another endpoint, and the first answer counts.

Pure: time comes in. Worth it against stragglers only, and harmful where the whole store is slow, so three things hold it back:
the delay is what most writes of that size have needed lately, second writes are a fixed share of first ones, and while many
are slow there are none. Whether a write may be sent twice at all is the sink's identity to say: `allowed`.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import math
import statistics

import numpy as np

from penstock.core import delivery

_KEPT = 200
_ENOUGH = 20
_ALIKE = 2.0
_NOTABLE = 2.0
_LAST = 5
_SLOW = 1.5
_BURST_PERCENT = 100.0
_REMEMBERED = 250
"""A quarter of the tokens a table must remember: some processes write to it."""

_ONCE = frozenset({delivery.Identity.TRANSACTIONAL, delivery.Identity.TOKEN, delivery.Identity.ROW_KEY})


def allowed(identity: delivery.Identity, *, ordered: bool) -> bool:
    """Whether the same write may be under way at two endpoints. Not where nothing keeps it from landing twice (None), where
    a folder has one writer (Manifest), or where the second could overtake the next batch."""
    return identity in _ONCE and not ordered


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A write is slow when it takes longer than `after_percentile` of 100 alike, and twice as long as half of them; second
    writes are at most `budget_percent` of 100 first ones."""

    after_percentile: int = 95
    budget_percent: int = 5


class Withheld(enum.Enum):
    """Why a slow write was not sent again."""

    TROUBLE = "trouble"
    """The circuit is not closed, or the store asks for less."""
    ALL_SLOW = "all_slow"
    BUDGET = "budget"
    FORGETFUL = "forgetful"
    """So many writes are made that the store could forget this one before its other copy has ended."""
    ENDPOINT = "endpoint"


@dataclasses.dataclass(slots=True, eq=False)
class Flight:
    """A write under way. `usual_seconds`: what half of those alike have needed; `due`: when it is slow. Both inf while too
    little is known of such writes."""

    rows: int
    began: float
    usual_seconds: float
    due: float
    hedged: bool = False
    told: bool = False
    """Whether somebody was told that it was not sent again."""


class Hedging:
    """Of one lane. `start` and `finish` around every write, `withheld` when one has become due.

    `write_seconds`, where the store remembers a number of writes and no more: how long one may take. The copy that lost may
    land as late as that, and must still be known then.
    """

    def __init__(self, settings: Settings, *, write_seconds: float | None = None) -> None:
        self._settings, self._write_seconds = settings, write_seconds
        self._starts: collections.deque[float] = collections.deque(maxlen=_REMEMBERED)
        self._rows, self._seconds = np.zeros(_KEPT), np.zeros(_KEPT)
        self._writes = 0
        self._last_ratios: collections.deque[float] = collections.deque(maxlen=_LAST)
        self._flights: set[Flight] = set()
        self._percents = 0.0

    def start(self, now: float, rows: int) -> Flight:
        """A first write leaves, and pays its share into the budget."""
        self._percents = min(_BURST_PERCENT * self._settings.budget_percent, self._percents + self._settings.budget_percent)
        usual, slow = self._quantiles(rows)
        # Where writes differ little, those beyond the percentile are nothing to be gained from.
        flight = Flight(rows=rows, began=now, usual_seconds=usual, due=now + max(slow, _NOTABLE * usual))
        self._flights.add(flight)
        self._starts.append(now)
        return flight

    def _quantiles(self, rows: int) -> tuple[float, float]:
        """What half, and `after_percentile`, of the writes of half to twice as many rows have needed at most: so nothing must
        be known of how time grows with size."""
        kept = min(self._writes, _KEPT)
        seen = self._rows[:kept]
        alike = np.sort(self._seconds[:kept][(seen * _ALIKE >= rows) & (seen <= rows * _ALIKE)])
        if len(alike) < _ENOUGH:
            return math.inf, math.inf
        place = math.ceil(len(alike) * self._settings.after_percentile / 100) - 1
        return float(alike[len(alike) // 2]), float(alike[place])

    def withheld(self, now: float, flight: Flight, *, calm: bool, another: bool) -> Withheld | None:
        """Why the flight, which is due, must not be sent again; None: it may, and the budget has paid for it."""
        if not calm:
            return Withheld.TROUBLE
        if not another:
            return Withheld.ENDPOINT
        if self._all_slow(now):
            return Withheld.ALL_SLOW
        if self._is_forgotten_by(now):
            return Withheld.FORGETFUL
        if self._percents < _BURST_PERCENT:
            return Withheld.BUDGET
        self._percents -= _BURST_PERCENT
        flight.hedged = True
        return None

    def _is_forgotten_by(self, now: float) -> bool:
        if self._write_seconds is None or len(self._starts) < _REMEMBERED:
            return False
        return now - self._starts[0] < self._write_seconds

    def _all_slow(self, now: float) -> bool:
        """Most of what is under way is late, or what has ended lately was slow: the store is, and not one of its doors."""
        late = sum(now >= one.due and not one.hedged for one in self._flights)
        most = len(self._flights) > 1 and 2 * late > len(self._flights)
        return most or (len(self._last_ratios) == _LAST and statistics.median(self._last_ratios) > _SLOW)

    def finish(self, now: float, flight: Flight, *, landed: bool) -> None:
        """The write has ended, by whichever answer. One that was overtaken has taken longer than it says here, which leaves
        the percentile what it is."""
        self._flights.discard(flight)
        if not landed:
            return
        seconds = now - flight.began
        if 0.0 < flight.usual_seconds < math.inf:
            self._last_ratios.append(seconds / flight.usual_seconds)
        place = self._writes % _KEPT
        self._rows[place], self._seconds[place] = flight.rows, seconds
        self._writes += 1
