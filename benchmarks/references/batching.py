"""Batch forming, one event after the other: put, count, look at the age, flush."""

from __future__ import annotations

from typing import Any

Batch = tuple[str, list[Any]]


class PlainBatcher:
    """Batches of at most `rows` rows that wait `linger` seconds at most; `flushed` has them, each with its reason."""

    def __init__(self, *, rows: int, linger: float) -> None:
        self._rows, self._linger = rows, linger
        self._open: list[Any] = []
        self._born = 0.0
        self.flushed: list[Batch] = []

    def put(self, row: Any, now: float) -> None:
        """One more row."""
        self.look(now)
        if not self._open:
            self._born = now
        self._open.append(row)
        if len(self._open) >= self._rows:
            self.flush("cap_rows")

    def look(self, now: float) -> None:
        """What has waited long enough goes."""
        if self._open and now - self._born >= self._linger:
            self.flush("cap_linger")

    def flush(self, reason: str) -> None:
        """Whatever is open goes."""
        if self._open:
            self.flushed.append((reason, self._open))
            self._open = []
