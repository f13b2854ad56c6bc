"""Telling a flood of refusals from a few bad rows.

One bad row is dead-lettered and its neighbours land. When a large share of everything is refused, the rows are most likely
right and something else is wrong: a changed table, a broken producer, an expression that never fits. Going on would turn all
of it into dead letters, so the lane pauses with the most frequent reason and waits for a person.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable

_BUCKETS = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """More than `share` of at least `minimum` units (rows, or events refused whole) in `window_seconds`."""

    share: float = 0.2
    minimum: int = 1_000
    window_seconds: float = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refused unit: its fingerprint groups it, its message is the example."""

    fingerprint: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a person should know of a flood: how much, and the most frequent reason with an example."""

    refused: int
    units: int
    fingerprint: str
    count: int
    example: str

    def __str__(self) -> str:
        percent = 100 * self.refused / self.units
        return (
            f"{self.refused:,} of {self.units:,} were refused ({percent:.0f} %), "
            f"{self.count:,} of them alike ({self.fingerprint}): {self.example}"
        )


@dataclasses.dataclass(slots=True)
class _Bucket:
    began: float
    units: int = 0
    refused: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


class Watch:
    """A sliding window over units and refusals. `now` is monotonic seconds. Bounded: 60 buckets, one example per reason."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._buckets: collections.deque[_Bucket] = collections.deque()
        self._examples: dict[str, str] = {}

    def saw(self, now: float, units: int) -> None:
        """So many units were made, refused ones among them."""
        self._bucket(now).units += units

    def refused(self, now: float, refusals: Iterable[Refusal]) -> None:
        bucket = self._bucket(now)
        for refusal in refusals:
            bucket.refused[refusal.fingerprint] += 1
            self._examples.setdefault(refusal.fingerprint, refusal.message)

    def verdict(self, now: float) -> Verdict | None:
        """The flood, if there is one now."""
        self._forget(now)
        units = sum(bucket.units for bucket in self._buckets)
        reasons = sum((bucket.refused for bucket in self._buckets), collections.Counter[str]())
        refused = reasons.total()
        if units < self._settings.minimum or refused <= self._settings.share * units:
            return None
        fingerprint, count = reasons.most_common(1)[0]
        return Verdict(refused=refused, units=units, fingerprint=fingerprint, count=count, example=self._examples[fingerprint])

    def reset(self) -> None:
        """A person has looked and says go on."""
        self._buckets.clear()
        self._examples.clear()

    def _bucket(self, now: float) -> _Bucket:
        if not self._buckets or now - self._buckets[-1].began >= self._settings.window_seconds / _BUCKETS:
            self._forget(now)
            self._buckets.append(_Bucket(began=now))
        return self._buckets[-1]

    def _forget(self, now: float) -> None:
        while self._buckets and now - self._buckets[0].began > self._settings.window_seconds:
            self._buckets.popleft()
        known = {fingerprint for bucket in self._buckets for fingerprint in bucket.refused}
        self._examples = {name: text for name, text in self._examples.items() if name in known}
