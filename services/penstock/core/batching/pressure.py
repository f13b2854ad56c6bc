"""What a lane does when its store asks for less: fewer, larger batches and fewer at once, for a while.

Pure: time comes in. Each step of pressure doubles the rows a batch aims for, raises the floor on its linger and halves the
writes at once; a quiet while takes one step back. The floor outranks the latency objective and nothing outranks the limits.
"""

from __future__ import annotations

import dataclasses
import math

from penstock.core.batching import model

MOST_STEPS = 4
_LINGER_SHARES = (0.0, 0.25, 0.5, 0.75, 0.95)
"""Of the linger the limits allow, by step."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Signals within `step_seconds` of a step are the same trouble, told by several writes; `quiet_seconds` without one take
    a step back."""

    step_seconds: float = 2.0
    quiet_seconds: float = 20.0


class Pressure:
    """Of one lane. Every `now` is monotonic seconds."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._steps = 0
        self._stepped = -math.inf
        self._quiet_since = -math.inf

    def felt(self, now: float) -> None:
        """The store has asked for less."""
        self.steps(now)
        self._quiet_since = now
        if now - self._stepped >= self._settings.step_seconds:
            self._steps, self._stepped = min(MOST_STEPS, self._steps + 1), now

    def steps(self, now: float) -> int:
        """0 when the lane runs as it was told."""
        if self._steps:
            back = min(self._steps, int((now - self._quiet_since) / self._settings.quiet_seconds))
            self._steps -= back
            self._quiet_since += back * self._settings.quiet_seconds
        return self._steps

    def changes_at(self, now: float) -> float:
        """When the next step back is due; inf without pressure."""
        return self._quiet_since + self._settings.quiet_seconds if self.steps(now) else math.inf


def eased(told: model.WriteModel, limits: model.Limits, steps: int) -> model.WriteModel:
    """The model to follow at so many steps; at 0 the one that was told."""
    if not steps:
        return told
    return dataclasses.replace(
        told,
        target_rows=max(told.target_rows, min(told.target_rows * 2**steps, told.cap_rows, limits.rows)),
        minimum_linger_seconds=max(told.minimum_linger_seconds, _LINGER_SHARES[steps] * limits.linger_seconds),
        wanted_concurrency=max(1, told.wanted_concurrency // 2**steps),
    )
