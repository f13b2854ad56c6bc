"""Why letters were written, counted by cause: what a person wants to know before anything is put back."""

from __future__ import annotations

import collections
import dataclasses

from penstock.replay import book


@dataclasses.dataclass(slots=True, kw_only=True)
class Cause:
    """Letters of one fingerprint, from one expression of one sink's lane; `example` is the newest of them."""

    count: int
    first_microseconds: int
    last_microseconds: int
    example: book.Found


class Causes:
    """What is kept grows with the causes, not with the letters."""

    def __init__(self) -> None:
        self._causes: dict[tuple[str, str, str], Cause] = {}

    def add(self, found: book.Found) -> None:
        letter = found.letter
        key, at = (letter.fingerprint, letter.sink, letter.expression), letter.failed_at_microseconds
        cause = self._causes.get(key)
        if cause is None:
            self._causes[key] = Cause(count=1, first_microseconds=at, last_microseconds=at, example=found)
            return
        cause.count += 1
        cause.first_microseconds = min(cause.first_microseconds, at)
        if at > cause.last_microseconds:
            cause.last_microseconds, cause.example = at, found

    def ranked(self) -> list[Cause]:
        """The most frequent first; of equally frequent ones the newest."""
        return sorted(self._causes.values(), key=lambda cause: (-cause.count, -cause.last_microseconds, cause.example.letter.id))

    def by_category(self) -> collections.Counter[str]:
        counts: collections.Counter[str] = collections.Counter()
        for cause in self._causes.values():
            counts[cause.example.letter.category.value] += cause.count
        return counts
