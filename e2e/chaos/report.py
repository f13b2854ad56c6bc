"""What a fault came to: one line of build/chaos/summary.json and one of the table in docs/reliability.md."""

from __future__ import annotations

import dataclasses
from typing import Any

from e2e.checker import verdict

LIMIT_SECONDS = 30.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`error` is what kept a fault from being judged at all; `times` how often it was done."""

    name: str
    seed: int
    times: int
    seconds: float
    verdict: verdict.Verdict | None
    recoveries: tuple[float, ...] = ()
    how: str = ""
    error: str = ""

    @property
    def recovery_seconds(self) -> float:
        """The longest."""
        return max(self.recoveries, default=0.0)

    @property
    def good(self) -> bool:
        judged = self.verdict is not None and self.verdict.good and self.verdict.acknowledged > 0
        return judged and not self.error and self.recovery_seconds < LIMIT_SECONDS

    def summary(self, command: str, at: str) -> dict[str, Any]:
        """One entry; `command` and `at` say by what and when it was made."""
        told = dataclasses.asdict(self.verdict) if self.verdict else {}
        return {
            "name": self.name,
            "seeds": [self.seed],
            **told,
            "times": self.times,
            "recovery_seconds": round(self.recovery_seconds, 2),
            "seconds": round(self.seconds, 1),
            "how": self.how,
            "error": self.error,
            "good": self.good,
            "command": command,
            "at": at,
        }
