"""What a call allocates and how often the collector stops it: a call that is fast today and wasteful pays under load.

Measured apart from the time, because watching allocations slows them down several times over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa


@dataclasses.dataclass(slots=True)
class Pauses:
    """Collections, and the seconds they took."""

    collections: int = 0
    seconds: float = 0.0


@contextlib.contextmanager
def pauses() -> Iterator[Pauses]:
    """Counts the collector's work inside."""
    found, started = Pauses(), 0.0

    def note(phase: str, _: Mapping[str, int]) -> None:
        nonlocal started
        if phase == "start":
            started = time.perf_counter()
        else:
            found.collections += 1
            found.seconds += time.perf_counter() - started

    gc.callbacks.append(note)
    try:
        yield found
    finally:
        gc.callbacks.remove(note)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Allocated:
    """Of one call, per event: `peak_bytes` of Python and numpy at once; `blocks` still alive with the result, and what the
    result holds in Arrow's pool. `collections` and `pause_microseconds` are the collector's, per million events."""

    peak_bytes: float
    blocks: float
    arrow_bytes: float
    collections: float
    pause_microseconds: float


def observe(call: Callable[[Any], Any], inputs: Any, events: int) -> Allocated:
    """Runs the call twice: once for the collector, once with every allocation traced."""
    gc.collect()
    with pauses() as collected:
        call(inputs)
    gc.collect()
    pool = pa.total_allocated_bytes()
    tracemalloc.start()
    try:
        output = call(inputs)
        _, peak = tracemalloc.get_traced_memory()
        blocks = sum(statistic.count for statistic in tracemalloc.take_snapshot().statistics("filename"))
    finally:
        tracemalloc.stop()
    arrow = pa.total_allocated_bytes() - pool
    del output
    million = events / 1e6
    return Allocated(
        peak_bytes=peak / events,
        blocks=blocks / events,
        arrow_bytes=arrow / events,
        collections=collected.collections / million,
        pause_microseconds=collected.seconds * 1e6 / million,
    )
