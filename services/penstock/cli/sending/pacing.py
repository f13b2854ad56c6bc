"""How long a sender waits: to keep a chosen rate, and before it tries again. Pure; time and randomness are handed in."""

from __future__ import annotations

import random

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 2.0


class Pace:
    """Spreads events evenly; a rate of 0 means no limit. A sender that fell behind does not make up for it in a burst."""

    def __init__(self, events_per_second: float) -> None:
        self._rate = events_per_second
        self._free_at = 0.0

    def delay_seconds(self, now: float, events: int) -> float:
        """How long the next `events` must wait, counted as sent."""
        if not self._rate:
            return 0.0
        start = max(now, self._free_at)
        self._free_at = start + events / self._rate
        return start - now


class Backoff:
    """Waits that double up to two seconds, each drawn from the upper half of its step so that senders do not march in step."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._attempt = 0

    def next_seconds(self) -> float:
        step = min(_LONGEST_SECONDS, _FIRST_SECONDS * float(1 << self._attempt))
        self._attempt = min(self._attempt + 1, 10)
        return step * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._attempt = 0
