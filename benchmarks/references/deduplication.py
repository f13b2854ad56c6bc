"""Deduplication, one event after the other: a dictionary from id to last position, and a queue of what to forget."""

from __future__ import annotations

import collections
from collections.abc import Sequence


class PlainTable:
    """The rule of the product: a duplicate stands at most `max_events` and `window` of append time behind."""

    def __init__(self, *, window: int, max_events: int) -> None:
        self._window, self._max_events = window, max_events
        self._last: dict[str, int] = {}
        self._order: collections.deque[str] = collections.deque()
        self._first = 0
        self._blocks: collections.deque[tuple[int, int]] = collections.deque()
        self._head = 0

    @property
    def remembered(self) -> int:
        return len(self._last)

    def judge(self, now: int, ids: Sequence[str]) -> list[bool]:
        """One verdict per event of the next block, True for duplicates."""
        self._blocks.append((self._head, now))
        while now - self._blocks[0][1] > self._window:
            self._blocks.popleft()
        oldest = self._blocks[0][0]
        verdicts = []
        for key in ids:
            last = self._last.get(key)
            verdicts.append(last is not None and last >= oldest and self._head - last <= self._max_events)
            self._last[key] = self._head
            self._order.append(key)
            self._head += 1
        self._forget(max(oldest, self._head - self._max_events))
        return verdicts

    def _forget(self, before: int) -> None:
        while self._first < before:
            key = self._order.popleft()
            if self._last[key] == self._first:
                del self._last[key]
            self._first += 1
