"""The process's own figures: lag of the loop, pauses of the collector."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from penstock.telemetry import metrics, runtime


def total(metric: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"{metric}_sum", labels) or 0.0


def count(metric: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(f"{metric}_count", labels) or 0.0


def ticks(*instants: float) -> runtime.Clock:
    clock: Iterator[float] = iter(instants)
    return lambda: next(clock)


async def test_the_lag_is_how_much_later_than_asked_the_sleep_returns() -> None:
    """Catches a lag that contains the interval itself, and a negative one."""
    before, seen = total("penstock_event_loop_lag_seconds"), count("penstock_event_loop_lag_seconds")
    naps = iter([None, None, asyncio.CancelledError()])

    async def sleep(seconds: float) -> None:
        assert seconds == runtime.INTERVAL_SECONDS
        if end := next(naps):
            raise end

    with pytest.raises(asyncio.CancelledError):
        await runtime.watch(clock=ticks(10.0, 10.35, 20.0, 20.05, 30.0), sleep=sleep)
    assert count("penstock_event_loop_lag_seconds") == seen + 2
    assert total("penstock_event_loop_lag_seconds") == pytest.approx(before + 0.25)


def test_a_pause_lasts_from_start_to_stop_and_is_counted_by_generation() -> None:
    """Catches generations mixed up, and durations measured from the wrong end."""
    before = total("penstock_gc_pause_seconds", generation="2")
    pauses = runtime.GcPauses(ticks(5.0, 5.5))
    pauses("start", {"generation": 2})
    pauses("stop", {"generation": 2})
    assert total("penstock_gc_pause_seconds", generation="2") == before
    pauses.publish()
    pauses.publish()
    assert total("penstock_gc_pause_seconds", generation="2") == pytest.approx(before + 0.5)


def test_the_callback_itself_touches_no_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an observation inside the callback, which hangs when the collection began under the metric's own lock."""
    monkeypatch.setattr(metrics, "GC_PAUSE_SECONDS", None)
    pauses = runtime.GcPauses(ticks(1.0, 2.0))
    pauses("start", {"generation": 0})
    pauses("stop", {"generation": 0})


async def test_the_watch_leaves_no_callback_behind() -> None:
    """Catches a callback that outlives its task."""
    before = list(gc.callbacks)
    task = asyncio.create_task(runtime.watch())
    await asyncio.sleep(0)
    assert len(gc.callbacks) == len(before) + 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gc.callbacks == before
