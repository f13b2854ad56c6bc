"""How long to wait before a write is tried again.

Exponential back-off with full jitter: lanes that failed together do not come back together. Outages are retried for ever,
so there is no last attempt here; what ends a retry is decided by the result class.
"""

from __future__ import annotations

_LONGEST_ADVICE_SECONDS = 3_600.0
_MOST_DOUBLINGS = 64


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
