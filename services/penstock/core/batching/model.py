"""The write model of one lane, the close line it draws, and how far off the store is from it right now.

Size and linger are one decision: a batch of n rows goes when its oldest row is older than `close_line(n)`. The tuner (or
the pipeline object's `static` values, while there is none) publishes the model; the batcher applies it per block and
corrects it with the store's level g. Derivation and figures: docs/tuning.md.
"""

from __future__ import annotations

import collections
import dataclasses
import statistics


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WriteModel:
    """T(n) = seconds_per_row * n + seconds_per_write, and what follows from it for one lane and replica.

    `samples` 0 means that nothing was measured: no cost is assumed, the level stays 1 and the budget is the linger.
    """

    seconds_per_row: float = 0.0
    seconds_per_write: float = 0.0
    own_seconds_per_row: float = 0.0
    z: float = 1.0
    z_jump: float = 1.0
    budget_seconds: float
    minimum_linger_seconds: float = 0.0
    target_rows: int
    cap_rows: int
    wanted_concurrency: int
    maximum_concurrency: int
    dither: bool = False
    samples: int = 0

    def write_seconds(self, rows: int) -> float:
        """What a write of `rows` rows is expected to take; 0 while nothing was measured."""
        return self.seconds_per_row * rows + self.seconds_per_write

    def close_line(self, rows: int, level: float = 1.0) -> float:
        """Age in seconds at which a batch of `rows` rows must go, for a store `level` times slower than the model."""
        z = self.z if level == 1.0 else self.z_jump
        linger = max(self.minimum_linger_seconds, self.budget_seconds - z * level * self.seconds_per_write)
        return linger - (self.z_jump * level * self.seconds_per_row + self.own_seconds_per_row) * rows

    def timeout_rows(self, write_timeout_seconds: float, level: float) -> int:
        """Rows that still fit a write's time-out with room to spare; outranks every wish for larger batches."""
        if self.samples == 0 or self.seconds_per_row == 0.0:
            return self.cap_rows
        room = write_timeout_seconds / 2.5 - level * self.seconds_per_write
        return max(1, min(self.cap_rows, int(room / (level * self.seconds_per_row))))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the pipeline object allows, hard in every mode."""

    rows: int
    bytes: int
    linger_seconds: float
    concurrency: int
    write_timeout_seconds: float


class StoreLevel:
    """g: the median of the last five writes over the model, or exactly 1 while the store is near it."""

    _NEAR = (0.75, 1.3)

    def __init__(self) -> None:
        self._ring: collections.deque[float] = collections.deque(maxlen=5)

    def observe(self, model: WriteModel, rows: int, seconds: float) -> None:
        expected = model.write_seconds(rows)
        if model.samples and expected > 0.0:
            self._ring.append(seconds / expected)

    @property
    def value(self) -> float:
        if not self._ring:
            return 1.0
        low, high = self._NEAR
        median = statistics.median(self._ring)
        return 1.0 if low <= median <= high else median


@dataclasses.dataclass(slots=True)
class WriteSums:
    """The sums a fit of T(n) needs, with times winsorised at four times the expectation so that stragglers do not bend it."""

    n: float = 0.0
    n2: float = 0.0
    t: float = 0.0
    nt: float = 0.0
    t2: float = 0.0
    writes: int = 0

    def add(self, rows: int, seconds: float, expected_seconds: float) -> dict[str, float]:
        """Add one write and return what was added, by name of the exported sum."""
        time = min(seconds, 4.0 * expected_seconds) if expected_seconds > 0.0 else seconds
        added = {"n": float(rows), "n2": float(rows) ** 2, "t": time, "nt": rows * time, "t2": time * time}
        self.n, self.n2 = self.n + added["n"], self.n2 + added["n2"]
        self.t, self.nt, self.t2 = self.t + added["t"], self.nt + added["nt"], self.t2 + added["t2"]
        self.writes += 1
        return added
