"""What a rule between fields is; see `rules`, which holds them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. `path` has [] for every item and ** for every field and element below; `field` is where the error points."""

    path: str
    cel: str
    message: str
    remedy: str
    field: str = ""


def unique(path: str) -> Rule:
    """Names differ in more than upper and lower case: SQL doesn't tell those apart."""
    return Rule(
        path=path,
        cel="self.all(a, self.all(b, a.name == b.name || a.name.lowerAscii() != b.name.lowerAscii()))",
        message="two names differ only in upper and lower case, which SQL doesn't tell apart",
        remedy="Rename one of the two.",
    )
