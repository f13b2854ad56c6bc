"""How long to wait before a write is tried again.

Exponential back-off with full jitter: lanes that failed together do not come back together. Outages are retried for ever,
so there is no last attempt here; what ends a retry is decided by the result class.
"""

from __future__ import annotations

_LONGEST_ADVICE_SECONDS = 3_600.0
_MOST_DOUBLINGS = 64
_ROUNDING = 1e-6


def delay_seconds(
    attempt: int, *, initial_seconds: float, maximum_seconds: float, fraction: float, retry_after_seconds: float = 0.0
) -> float:
    """Seconds until the next try; `attempt` counts the failures so far less one, `fraction` is random in [0, 1).

    `retry_after_seconds` is the store's own advice: never less than that (up to an hour, whatever the store says), and the
    jitter comes on top.
    """
    ceiling = min(maximum_seconds, initial_seconds * 2.0 ** min(attempt, _MOST_DOUBLINGS))
    advised = min(max(0.0, retry_after_seconds), _LONGEST_ADVICE_SECONDS)
    return advised + fraction * ceiling


class Budget:
    """Retries of one lane, paced: at most `share` of its first tries, or one per `floor_seconds` where that is more.

    A budget delays and never refuses: what waits for it is tried again, for ever if need be. `now` is monotonic seconds.
    """

    def __init__(self, *, share: float = 0.1, floor_seconds: float = 1.0, burst: float = 10.0) -> None:
        self._share, self._floor_seconds, self._burst = share, floor_seconds, burst
        self._tokens = burst
        self._filled: float | None = None

    def first_try(self) -> None:
        """Something is written that was not written before."""
        self._tokens = min(self._burst, self._tokens + self._share)

    def spend(self, now: float) -> float:
        """0.0: a retry may go and is paid for. Else the seconds after which it is worth asking again."""
        if self._filled is not None:
            self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled) / self._floor_seconds)
        self._filled = now
        if self._tokens >= 1.0 - _ROUNDING:
            self._tokens = max(0.0, self._tokens - 1.0)
            return 0.0
        return (1.0 - self._tokens) * self._floor_seconds
