"""How the process itself is doing: garbage collection pauses and how late the event loop runs its timers.

One task, woken ten times a second, does both. The collector's callback only notes a duration, because a collection may
start inside the metrics library while it holds its own lock, which is not re-entrant: observing there would hang.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import time
from collections.abc import Awaitable, Callable, Mapping

from penstock.telemetry import metrics

Clock = Callable[[], float]

INTERVAL_SECONDS = 0.1
_PAUSES_KEPT = 10_000


class GcPauses:
    """A callback for `gc.callbacks`; `publish` moves what it noted into the histogram."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._started = 0.0
        self._noted: collections.deque[tuple[int, float]] = collections.deque(maxlen=_PAUSES_KEPT)

    def __call__(self, phase: str, info: Mapping[str, int]) -> None:
        now = self._clock()
        if phase == "start":
            self._started = now
        else:
            self._noted.append((info["generation"], now - self._started))

    def publish(self) -> None:
        while self._noted:
            generation, seconds = self._noted.popleft()
            metrics.GC_PAUSE_SECONDS.labels(generation=generation).observe(seconds)


async def watch(*, clock: Clock = time.perf_counter, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Measure until cancelled; run it as a task for as long as the process serves."""
    pauses = GcPauses(clock)
    gc.callbacks.append(pauses)
    try:
        while True:
            due = clock() + INTERVAL_SECONDS
            await sleep(INTERVAL_SECONDS)
            metrics.EVENT_LOOP_LAG_SECONDS.observe(max(0.0, clock() - due))
            pauses.publish()
    finally:
        gc.callbacks.remove(pauses)
