"""What a start waits for is told once, and tried again with growing pauses."""

from __future__ import annotations

import pytest

from penstock.machine import waiting


async def test_a_step_is_tried_again_until_it_is_done_and_each_reason_is_told_once() -> None:
    """Catches a busy loop, a line for each attempt, and a reason that stays when it has gone."""
    told: list[str] = []
    pauses: list[float] = []
    failures = [OSError("away"), OSError("away"), ValueError("refused"), ValueError("refused")]

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def step() -> str:
        if failures:
            raise failures.pop(0)
        return "done"

    waits = waiting.Waiting(told.append, pause)
    assert await waits.until_done(step, (OSError, ValueError)) == "done"
    assert told == ["away", "refused", ""]
    assert pauses == [0.5, 1.0, 2.0, 4.0]
    assert not waits.why


async def test_what_waiting_can_t_mend_is_raised_at_once() -> None:
    """Catches a process that waits for ever for settings that are wrong."""

    async def step() -> None:
        raise RuntimeError("wrong number of partitions")

    with pytest.raises(RuntimeError):
        await waiting.Waiting().until_done(step, (OSError,))
