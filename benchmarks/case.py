"""What a benchmark is, and what comes out of one.

Every case runs the product and a straightforward reference over the same input, compares what they give, and measures CPU
time of the whole process, never the clock on the wall. A target is met by the medians.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from benchmarks import allocation


class DifferentOutputError(Exception):
    """Product and reference disagree: their times say nothing."""


def require_same(name: str, product: object, reference: object) -> None:
    """Raises DifferentOutputError unless both are equal."""
    if product != reference:
        raise DifferentOutputError(f"{name}: product and reference differ:\n  {product!r:.300}\n  {reference!r:.300}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is aimed for: at most `cpu_us` microseconds per event, at least `ratio` times as fast as the reference."""

    cpu_us: float | None = None
    ratio: float | None = None

    def __str__(self) -> str:
        parts = [f"≤ {self.cpu_us:g} µs"] if self.cpu_us is not None else []
        parts += [f"≥ {self.ratio:g}×"] if self.ratio is not None else []
        return ", ".join(parts) or "none of its own"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round: CPU microseconds per event."""

    product_us: float
    reference_us: float

    @property
    def ratio(self) -> float:
        return self.reference_us / self.product_us


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One case's outcome. `extra` are further figures of the case, by name."""

    name: str
    unit: str
    says: str
    target: Target
    events: int
    samples: Sequence[Sample]
    allocated: Mapping[str, allocation.Allocated] = dataclasses.field(default_factory=dict)
    """Of "product" and "reference"; empty where it was not measured."""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def cpu_us(self) -> float:
        return statistics.median(sample.product_us for sample in self.samples)

    @property
    def reference_us(self) -> float:
        return statistics.median(sample.reference_us for sample in self.samples)

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: both sides of one round saw the same neighbours on the machine."""
        return statistics.median(sample.ratio for sample in self.samples)

    @property
    def has_target(self) -> bool:
        """A stage that is only a part of what has a target has none itself."""
        return self.target != Target() or "target" in self.extra

    @property
    def misses(self) -> str:
        """By how much the target is missed, or nothing."""
        parts = []
        if self.target.cpu_us is not None and self.cpu_us > self.target.cpu_us:
            parts.append(f"{self.cpu_us - self.target.cpu_us:.2f} µs too slow ({self.cpu_us / self.target.cpu_us - 1:.0%})")
        if self.target.ratio is not None and self.ratio < self.target.ratio:
            parts.append(f"{self.ratio:.2f}× instead of {self.target.ratio:g}×")
        parts += [str(fault) for fault in self.extra.get("faults", ())]
        return "; ".join(parts)

    def summary(self) -> dict[str, Any]:
        """The entry of summary.json."""
        return {
            "name": self.name,
            "cpu_us_per_event": round(self.cpu_us, 4),
            "reference_cpu_us_per_event": round(self.reference_us, 4),
            "ratio": round(self.ratio, 3),
            "target": self.extra.get("target", str(self.target)),
            "meets_target": not self.misses if self.has_target else None,
            "range": {
                "cpu_us_per_event": _range([sample.product_us for sample in self.samples]),
                "reference_cpu_us_per_event": _range([sample.reference_us for sample in self.samples]),
                "ratio": _range([sample.ratio for sample in self.samples]),
            },
            "unit": self.unit,
            "allocated": {side: dataclasses.asdict(found) for side, found in self.allocated.items()},
        }


def _range(values: Sequence[float]) -> list[float]:
    return [round(min(values), 4), round(max(values), 4)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is done: `quick` is a smoke run whose figures mean nothing; `share` of the events of a full run."""

    rounds: int = 5
    quick: bool = False
    share: float = 1.0
    allocations: bool = True

    def sized(self, full: int, quick: int) -> int:
        return quick if self.quick else max(quick, int(full * self.share))


class Case(Protocol):
    """One line of the table."""

    @property
    def name(self) -> str: ...

    @property
    def gated(self) -> bool:
        """Whether its ratio is held against the recorded one in CI."""

    def measure(self, effort: Effort) -> Measured:
        """Raises DifferentOutputError."""
