"""The ids that one log has had: which letters are about what stands in it, whatever it was called when they were written.

A log that was put back from a copy is given another id, so that no store takes what comes into it for what landed before. What
it held by then is judged again under the new id wherever it was not finished; a letter written under the old one is about
the same event. Ranges, tokens and addresses of rows know the new id alone: under the old one other events may have landed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """An id until `ends`, the end of each partition of the main log when it was given up."""

    log_id: str
    ends: Sequence[int]

    def reaches(self, partition: int, offset: int) -> bool:
        """A partition that was added later had no records then."""
        return partition < len(self.ends) and offset < self.ends[partition]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The id a log has now, and those it had before, oldest first."""

    log_id: str
    former: Sequence[Former] = ()

    def holds(self, log_id: str, partition: int, offset: int) -> bool:
        """Whether what `log_id` calls this place is in this log, under whichever of its ids."""
        return log_id == self.log_id or any(was.log_id == log_id and was.reaches(partition, offset) for was in self.former)

    def age(self, log_id: str) -> int:
        """Sort key: the ids in the order in which the log had them, any other before them."""
        known = [was.log_id for was in self.former] + [self.log_id]
        return known.index(log_id) if log_id in known else -1
