"""The circuit breaker of one lane: stops a lane from hammering a store that is away.

Pure: time and randomness come in. Open means that the lane pauses its partitions; nothing is dropped or dead-lettered
because of it. Only outages and configuration failures count: a store that refuses a row is a store that answers.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
from collections.abc import Callable

from penstock.core import results


class State(enum.Enum):
    CLOSED = "Closed"
    OPEN = "Open"
    HALF_OPEN = "HalfOpen"


class Mode(enum.Enum):
    """AUTO obeys the state. FORCED_OPEN lets nothing through. METRICS_ONLY keeps the state and lets all through. DISABLED
    keeps no state: retry for ever."""

    AUTO = "Auto"
    FORCED_OPEN = "ForcedOpen"
    METRICS_ONLY = "MetricsOnly"
    DISABLED = "Disabled"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """When to open: a share of failures (in (0, 1]) among enough attempts in the window, or so many failures in a row.

    The wait starts at `first_seconds` and doubles with each failed trial up to `open_seconds`, so that a store which is back
    is found within that, and sooner after a short trouble. Up to a quarter less by chance: lanes do not come back together.
    """

    window_seconds: float = 10.0
    minimum_attempts: int = 3
    failure_share: float = 0.6
    consecutive_failures: int = 5
    open_seconds: float = 30.0
    first_seconds: float = 2.0
    half_open_successes: int = 3


_FAILURES = frozenset({results.ResultClass.OUTAGE, results.ResultClass.CONFIG})
# The store was there and said so. Pressure and what no rule knows are neither: they open nothing and close nothing.
_ANSWERS = frozenset({None, results.ResultClass.DATA})
_MOST_DOUBLINGS = 64


class Breaker:
    """One circuit. `random` gives floats in [0, 1); every `now` is monotonic seconds.

    A caller asks `allow`, keeps `generation` of that moment beside the write, and reports the outcome with it. Every change
    of state starts a new generation, and an outcome of an older one is ignored: a write that began before the store went
    away says nothing about whether it is back.
    """

    def __init__(self, settings: Settings, *, random: Callable[[], float], mode: Mode = Mode.AUTO) -> None:
        self._settings = settings
        self._random = random
        self._generation = 0
        self._attempts: collections.deque[tuple[float, bool]] = collections.deque()
        self._consecutive = 0
        self._successes = 0
        self._openings = 0
        self._closed_at = self._opened_at = self._open_until = self._probe_until = float("-inf")
        self._set_mode(mode)

    @property
    def state(self) -> State:
        return self._state

    @property
    def mode(self) -> Mode:
        return self._mode

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def reason(self) -> str:
        """Why it is in this state, for people."""
        return self._reason

    def retry_in_seconds(self, now: float) -> float:
        """Seconds until an open circuit lets a write through: 0 where it would now, infinite where only a person can."""
        if self._mode is Mode.FORCED_OPEN:
            return float("inf")
        if self._mode is not Mode.AUTO or self._state is State.CLOSED:
            return 0.0
        return max(0.0, (self._open_until if self._state is State.OPEN else self._probe_until) - now)

    def allow(self, now: float) -> bool:
        """Whether a write may start. In HALF_OPEN one at a time: a yes holds the door until its outcome is recorded.

        Every outcome must be recorded, whatever its class; one that never is holds the door for `open_seconds`.
        """
        if self._mode in (Mode.FORCED_OPEN, Mode.DISABLED):
            return self._mode is Mode.DISABLED
        if self._state is State.OPEN and now >= self._open_until:
            self._enter(State.HALF_OPEN, "the wait is over, the next write is a trial")
        allowed = self._state is State.CLOSED or (self._state is State.HALF_OPEN and now >= self._probe_until)
        if allowed and self._state is State.HALF_OPEN:
            self._probe_until = now + self._settings.open_seconds
        return allowed or self._mode is Mode.METRICS_ONLY

    def record(self, now: float, generation: int, outcome: results.ResultClass | None) -> None:
        """The outcome of a write that started in `generation`; None is success."""
        if generation != self._generation or self._mode in (Mode.FORCED_OPEN, Mode.DISABLED):
            return
        if self._state is State.CLOSED:
            self._record_closed(now, outcome)
        elif self._state is State.HALF_OPEN:
            self._record_half_open(now, outcome)

    def set_mode(self, mode: Mode) -> None:
        """Follow an edit of the pipeline. A real change forgets all that was seen; the same mode again changes nothing."""
        if mode is not self._mode:
            self._set_mode(mode)

    def follow(self, settings: Settings, mode: Mode) -> None:
        """Other bounds, from the next outcome on. What was seen counts on; an open circuit waits no longer than it would now."""
        shorter = settings.open_seconds < self._settings.open_seconds
        self._settings = settings
        if shorter and self._state is State.OPEN:
            self._open_until = min(self._open_until, self._opened_at + settings.open_seconds)
        self.set_mode(mode)

    def trip(self, now: float, reason: str) -> bool:
        """Open a closed circuit, on the word of those who see the same store; whether it did. Not in a mode in which nobody
        obeys it, and not soon after good writes of its own have closed it: they say more."""
        closed_itself = now - self._closed_at <= self._settings.open_seconds
        if self._state is not State.CLOSED or self._mode is not Mode.AUTO or closed_itself:
            return False
        self._open(now, reason, openings=1)
        return True

    def look_now(self, now: float) -> None:
        """What could not be reached is there again: an open circuit waits no longer for its trial."""
        if self._state is State.OPEN:
            self._open_until = min(self._open_until, now)

    def _set_mode(self, mode: Mode) -> None:
        self._mode = mode
        self._openings = 0
        self._closed_at = float("-inf")
        self._enter(State.OPEN if mode is Mode.FORCED_OPEN else State.CLOSED, f"mode {mode.value}")

    def _record_closed(self, now: float, outcome: results.ResultClass | None) -> None:
        if outcome not in _FAILURES | _ANSWERS:
            return
        failed = outcome in _FAILURES
        self._attempts.append((now, failed))
        self._consecutive = self._consecutive + 1 if failed else 0
        while self._attempts[0][0] <= now - self._settings.window_seconds:
            self._attempts.popleft()
        if failed and (reason := self._reason_to_open()):
            # A circuit that has only just closed was not mended: its wait goes on growing.
            flaps = now - self._closed_at <= self._settings.window_seconds
            self._open(now, reason, openings=self._openings + 1 if flaps else 1)

    def _reason_to_open(self) -> str:
        attempts, failures = len(self._attempts), sum(failed for _, failed in self._attempts)
        if self._consecutive >= self._settings.consecutive_failures:
            return f"{self._consecutive} failures in a row"
        if attempts >= self._settings.minimum_attempts and failures >= self._settings.failure_share * attempts:
            return f"{failures} of {attempts} writes failed within {self._settings.window_seconds:g} s"
        return ""

    def _record_half_open(self, now: float, outcome: results.ResultClass | None) -> None:
        self._probe_until = float("-inf")
        if outcome in _FAILURES:
            self._open(now, "the trial write failed", openings=self._openings + 1)
        elif outcome in _ANSWERS:
            self._successes += 1
            if self._successes >= self._settings.half_open_successes:
                self._closed_at = now
                self._enter(State.CLOSED, f"{self._successes} good writes")

    def _open(self, now: float, reason: str, *, openings: int) -> None:
        self._openings, self._opened_at = openings, now
        grown = self._settings.first_seconds * 2.0 ** min(openings - 1, _MOST_DOUBLINGS)
        self._open_until = now + min(grown, self._settings.open_seconds) * (1 - self._random() / 4)
        self._enter(State.OPEN, reason)

    def _enter(self, state: State, reason: str) -> None:
        self._generation += 1
        self._state, self._reason = state, reason
        self._attempts.clear()
        self._consecutive = self._successes = 0
        self._probe_until = float("-inf")
