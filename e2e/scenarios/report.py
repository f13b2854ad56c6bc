"""What a scenario came to, and build/e2e/summary.json."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from e2e.checker import verdict

_WORTH_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`error` is why it did not pass; `notes` what else is worth knowing."""

    name: str
    provider: str
    seconds: float
    verdicts: Sequence[verdict.Verdict]
    error: str = ""
    notes: Sequence[str] = ()
    waits: Sequence[tuple[str, float]] = ()
    """What was waited for, and how many seconds."""

    @property
    def passed(self) -> bool:
        """Whether everything was as it should be, and something was sent at all."""
        return not self.error and bool(self.verdicts) and all(one.good and one.acknowledged for one in self.verdicts)

    def summary(self) -> dict[str, Any]:
        """One entry of the file."""
        counts = {
            name: sum(getattr(one, name) for one in self.verdicts)
            for name in ("acknowledged", "lost", "duplicated", "unexpected")
        }
        return {
            "name": self.name,
            "provider": self.provider,
            "passed": self.passed,
            "seconds": round(self.seconds, 1),
            **counts,
            "notes": list(self.notes),
            "error": self.error,
            "waits": [{"for": what, "seconds": round(seconds, 1)} for what, seconds in self.waits if seconds >= _WORTH_SECONDS],
        }


def write(file: pathlib.Path, reports: Sequence[Report]) -> None:
    """Anew, as a whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps([one.summary() for one in reports], indent=2) + "\n"
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)
