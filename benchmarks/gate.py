"""`python -m benchmarks --gate`: no case may have become much slower, beside its reference, than when it was recorded.

Only ratios are compared, never times: both sides of a round saw the same machine and the same neighbours. A case that looks
slower is measured again, because a neighbour can spoil one measurement but not three; what really is slower stays slower.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import case, cases

BASELINE = pathlib.Path(__file__).with_name("baseline.json")
TOLERANCE = 0.26
"""A slowdown of 40 % takes 29 % off a ratio."""
ATTEMPTS = 3
EFFORT = case.Effort(rounds=7, share=0.25, allocations=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One case beside its baseline."""

    name: str
    ratio: float
    baseline: float
    tolerance: float
    attempts: int

    @property
    def least(self) -> float:
        """The lowest ratio that passes."""
        return self.baseline * (1 - self.tolerance)

    @property
    def passes(self) -> bool:
        return self.ratio >= self.least

    def __str__(self) -> str:
        word = "ok    " if self.passes else "SLOWER"
        told = f"{word} {self.name:<28} {self.ratio:6.2f}x, recorded {self.baseline:6.2f}x, at least {self.least:6.2f}x"
        return told if self.attempts == 1 else f"{told}, best of {self.attempts} measurements"


def judge(one: case.Case, recorded: dict[str, Any], effort: case.Effort = EFFORT) -> Verdict:
    """Measure until the case passes, three times at most."""
    best = 0.0
    for attempt in range(1, ATTEMPTS + 1):
        best = max(best, one.measure(effort).ratio)
        found = Verdict(name=one.name, ratio=best, baseline=recorded["ratio"], tolerance=recorded["tolerance"], attempts=attempt)
        if found.passes:
            break
    return found


def run(only: Sequence[case.Case]) -> int:
    """0 when all pass, 1 when a case is slower, 2 when one has no baseline."""
    baseline = json.loads(BASELINE.read_text())
    if missing := [one.name for one in only if one.name not in baseline]:
        print(f"no baseline for {', '.join(missing)}: record it with python -m benchmarks --record", file=sys.stderr)
        return 2
    slower = []
    for one in only:
        verdict = judge(one, baseline[one.name])
        print(verdict, flush=True)
        if not verdict.passes:
            slower.append(verdict.name)
    if slower:
        print(f"slower than recorded: {', '.join(slower)}. If that is meant, say so in the change and record a new baseline.")
    return 1 if slower else 0


def gated() -> list[case.Case]:
    """The cases whose ratio means something in seconds: not the whole pipeline, not the proof of exactness."""
    return [one for one in cases.ALL if one.gated]


def record(only: Sequence[case.Case]) -> None:
    """Write the median of three measurements of each case as its baseline; those of others stay."""
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    for one in only:
        ratio = sorted(one.measure(EFFORT).ratio for _ in range(ATTEMPTS))[ATTEMPTS // 2]
        known = baseline.get(one.name, {"tolerance": TOLERANCE})
        baseline[one.name] = known | {"ratio": round(ratio, 2)}
        print(f"{one.name}: {ratio:.2f}", flush=True)
    BASELINE.write_text(json.dumps(dict(sorted(baseline.items())), indent=2) + "\n")
