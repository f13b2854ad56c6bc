"""The dispatcher's log line for batches that miss their objective."""

from __future__ import annotations

import asyncio
import dataclasses
import random

import numpy as np
import pyarrow as pa
import pytest
import structlog
from tests.integration import lane_run

from penstock.api import load
from penstock.batcher.writing import dispatch
from penstock.core import addresses, breaker
from penstock.core.batching import chunks, pressure
from penstock.core.transform import spec
from penstock.machine import lanes

_TURNS = 10
"""Of the loop: a batch that lands at once needs four."""


class _Lander:
    """Lands at once; the write is said to have taken two seconds."""

    settled_rows = troubled = 0

    def __init__(self) -> None:
        self.pressure = pressure.Pressure()

    def bound(self, slots: int) -> None: ...

    async def land(self, batch: object) -> float:
        return 2.0


class _Stuck(_Lander):
    """The first batch is on its way for ever, and may give up its slot; the rest lands at once."""

    def __init__(self) -> None:
        super().__init__()
        self.when_troubled = lambda: None
        self.landing = 0

    async def land(self, batch: object) -> float:
        self.landing += 1
        if self.landing == 1:
            await asyncio.Event().wait()
        return 2.0

    def give_way(self) -> None:
        self.troubled = 1
        self.when_troubled()


def _chunk(born: float) -> chunks.Chunk:
    return chunks.Chunk(
        range=addresses.Range("log", 0, addresses.Position(0), addresses.Position(1)),
        rows=pa.table({"id": ["a"], spec.EVENT_COLUMN: pa.array([0], pa.int32())}),
        events=chunks.Events(offsets=np.zeros(1, np.int64), ordinals=np.zeros(1, np.int64)),
        born=born,
        bytes=8,
    )


def _dispatcher(lander: _Lander, now: float, objective: float = 5.0) -> dispatch.Dispatcher:
    described = load.load_one(lane_run.pipeline())
    settings = dataclasses.replace(lanes.lane_for(described, described.spec.sinks[0]), latency_objective_seconds=objective)
    circuit = breaker.Breaker(settings.circuit, random=random.random, mode=settings.circuit_mode)
    return dispatch.Dispatcher(settings, lander, circuit, lambda: now)  # type: ignore[arg-type]


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


async def _told(now: float, births: list[float], objective: float) -> list[dict[str, object]]:
    dispatcher = _dispatcher(_Lander(), now, objective)
    with structlog.testing.capture_logs() as lines:
        running = asyncio.create_task(dispatcher.run())
        dispatcher.drain()
        dispatcher.nothing_unread = True
        for born in births:
            dispatcher.add(_chunk(born))
            await _turns()
        running.cancel()
    return [line for line in lines if line["event"] == "slow_batch"]


@pytest.mark.parametrize(("objective", "lines"), [(5.0, 1), (20.0, 0)])
async def test_late_batches_share_one_line_that_says_where_the_time_went(objective, lines):
    """Catches a flood of lines when a store is slow, a line for every batch, and waiting that is counted as writing."""
    told = await _told(110.0, [100.0, 100.0, 100.0], objective)
    assert len(told) == lines
    if told:
        assert (told[0]["total_seconds"], told[0]["waited_seconds"], told[0]["write_seconds"]) == (10.0, 10.0, 2.0)


async def test_a_batch_that_gives_up_its_slot_lets_the_next_one_go_at_once():
    """Catches a lane that sleeps through it: with one slot, and nothing new to read, it looked again only by chance."""
    lander = _Stuck()
    dispatcher = _dispatcher(lander, 110.0)
    running = asyncio.create_task(dispatcher.run())
    dispatcher.drain()
    dispatcher.nothing_unread = True
    for _ in range(2):
        dispatcher.add(_chunk(100.0))
        await _turns()
    assert lander.landing == 1
    lander.give_way()
    await _turns()
    assert lander.landing == 2
    running.cancel()
    await dispatcher.close()


class _Bound(_Lander):
    """Never lands, and knows how many writes it may have under way."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = 0

    def bound(self, slots: int) -> None:
        self.slots = slots

    async def land(self, batch: object) -> float:
        await asyncio.Event().wait()
        raise AssertionError("it is cancelled")


async def test_a_store_that_asks_for_less_gets_it_at_once_and_everything_back_later():
    """Catches pressure that is only counted, that outlives itself, and a model of the tuner's that undoes it or is lost by it."""
    lander, now = _Bound(), [100.0]
    dispatcher = _dispatcher(lander, 0.0)
    dispatcher._clock = lambda: now[0]
    told = dataclasses.replace(dispatcher.write_model, target_rows=10, cap_rows=1_000, wanted_concurrency=8)
    limits = dataclasses.replace(dispatcher._settings.limits, rows=1_000, concurrency=16)
    dispatcher._settings = dataclasses.replace(dispatcher._settings, limits=limits)
    dispatcher.bound(0)
    dispatcher.apply(told)
    running = asyncio.create_task(dispatcher.run())
    seen = []
    for now[0] in (100.0, 100.1, 121.0):
        if now[0] == 100.1:
            lander.pressure.felt(now[0])
        dispatcher.wake()
        await _turns()
        model = dispatcher.write_model
        seen.append((dispatcher.pressure_steps, model.target_rows, dispatcher.slots, lander.slots))
    assert seen == [(0, 10, 8, 8), (1, 20, 4, 4), (0, 10, 8, 8)]
    lander.pressure.felt(now[0])
    dispatcher.apply(dataclasses.replace(told, target_rows=30))
    await _turns()
    assert (dispatcher.write_model.target_rows, dispatcher.slots) == (60, 4)
    assert dispatcher.write_model.minimum_linger_seconds > 0.0
    running.cancel()
    await dispatcher.close()
