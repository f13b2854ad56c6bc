"""What was planned before this process: rows that are read again are put together as they were planned, before anything new.

Rows arrive in address order, so one look ahead is enough: a plan is complete when the reader has passed its end.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

from penstock.core import addresses, plans
from penstock.core.batching import chunks


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """Rows that go together: those of a plan, or (None) those that stand between plans and go on their own."""

    plan: plans.Plan | None
    chunks: Sequence[chunks.Chunk]


class Resumption:
    """The plans of one partition that are still to be met. Empty once all were."""

    def __init__(self, planned: Sequence[plans.Plan]) -> None:
        self._ahead = collections.deque(planned)
        self._collected: list[chunks.Chunk] = []

    def __bool__(self) -> bool:
        return bool(self._ahead)

    @property
    def rows(self) -> int:
        return sum(chunk.rows.num_rows for chunk in self._collected)

    @property
    def bytes(self) -> int:
        return sum(chunk.bytes for chunk in self._collected)

    def take(self, chunk: chunks.Chunk) -> tuple[list[Portion], chunks.Chunk | None]:
        """What is complete with this chunk, and what of it stands behind every plan."""
        portions: list[Portion] = []
        end = chunk.range.end
        rest: chunks.Chunk | None = chunk
        while rest is not None and self._ahead:
            plan = self._ahead[0]
            before, rest = rest.apart(plan.start)
            if before is not None:
                portions.append(Portion(plan=None, chunks=[before]))
            inside, rest = rest.apart(plan.end) if rest is not None else (None, None)
            self._collected += [inside] if inside is not None else []
            if rest is None and end < plan.end:
                break
            portions.append(self._complete())
        portions += self.passed(end)
        return portions, rest

    def passed(self, place: addresses.Position) -> list[Portion]:
        """Everything below `place` was read, whether or not it made rows."""
        done = []
        while self._ahead and self._ahead[0].end <= place:
            done.append(self._complete())
        return done

    def _complete(self) -> Portion:
        collected, self._collected = self._collected, []
        return Portion(plan=self._ahead.popleft(), chunks=collected)
