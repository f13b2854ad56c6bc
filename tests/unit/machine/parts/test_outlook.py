"""What probes are told."""

from __future__ import annotations

import types

from penstock.log import port
from penstock.machine import waiting
from penstock.machine.parts import outlook


class _Log:
    partitions = 2

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.asked: list[int] = []

    async def bounds(self, topic: str, partition: int) -> port.Bounds:
        self.asked.append(partition)
        if self.failure:
            raise self.failure
        return port.Bounds(start=0, end=0)


class _Accepted:
    async def superseded(self) -> str:
        return "the pipeline was changed"


class _Doors:
    refuses = False


def _lanes(*, waits: dict[str, str] | None = None, not_ready: str = "", drained: bool = False) -> types.SimpleNamespace:
    return types.SimpleNamespace(waiting=waits or {}, not_ready=lambda: not_ready, drained=drained, groups={"warehouse": "g"})


async def test_doors_are_not_ready_while_they_can_t_append_and_ready_again_after() -> None:
    """Catches doors that get a client's events in vain, a reason that stays, and a look at one broker only."""
    log = _Log()
    watch, told = outlook.LogWatch(log, None), outlook.Outlook(waiting.Waiting())
    told.started = True
    told.doors_over(_Doors(), watch)
    await watch.look(1)
    assert not told.why_not_ready(None)
    log.failure = port.LogUnavailableError("brokers are away")
    await watch.look(2)
    assert "brokers are away" in told.why_not_ready(None)
    assert not told.why_dead()
    log.failure = None
    await watch.look(3)
    assert not told.why_not_ready(None)
    assert log.asked == [1, 0, 1]


async def test_doors_that_are_superseded_are_not_ready() -> None:
    """Catches old doors that stay in service after the pipeline was changed in what they partition by."""
    watch, told = outlook.LogWatch(_Log(), _Accepted()), outlook.Outlook(waiting.Waiting())
    told.started = True
    told.doors_over(_Doors(), watch)
    for turn in range(1, 7):
        assert not told.why_not_ready(None)
        await watch.look(turn)
    assert told.why_not_ready(None) == "the pipeline was changed"


def test_what_a_start_waits_for_is_the_reason() -> None:
    """Catches a probe that says "Starting" and no more, and a batcher that is ready before it knows its partitions."""
    waits = waiting.Waiting()
    told = outlook.Outlook(waits)
    waits.say("no brokers")
    assert told.why_not_ready(None) == "Starting; waits for no brokers"
    waits.say("")
    assert told.why_not_ready(_lanes(waits={"warehouse": "no table"})) == "Starting; waits for warehouse: no table"
    told.started = True
    assert "warehouse" in told.why_not_ready(_lanes(not_ready="warehouse"))
    assert not told.why_not_ready(_lanes())


def test_a_lifecycle_is_what_was_told_last_and_drained_once_the_lanes_are() -> None:
    """Catches a process that says Running while it drains, or Drained while lanes read."""
    told = outlook.Outlook(waiting.Waiting())
    assert told.lifecycle("Draining", _lanes()) == "Starting"
    told.started = True
    assert told.lifecycle("Draining", _lanes()) == "Draining"
    assert told.lifecycle("Draining", _lanes(drained=True)) == "Drained"
    assert told.lifecycle("Draining", None) == "Drained"
    assert told.lifecycle("Paused", None) == "Paused"
    told.told = "Running"
    assert told.lifecycle("Draining", _lanes(drained=True)) == "Running"
    told.ending = True
    assert told.why_not_ready(None) == "Draining"
