"""One piece of blocking work at a time."""

import asyncio
import threading

import pytest

from penstock.sinks import turns

# A test that fails must not leave a thread behind that keeps the process from ending.
PATIENCE_SECONDS = 10


async def test_work_runs_one_at_a_time_in_order():
    """Catches two writes on one connection at once."""
    line, order, running = turns.Turns("t"), [], []

    def work(number):
        running.append(number)
        assert len(running) == 1
        order.append(number)
        running.pop()

    await asyncio.gather(*(line.run(lambda number=number: work(number)) for number in range(20)))
    assert order == list(range(20))
    await line.close(lambda: None)


async def test_a_caller_that_gives_up_while_waiting_leaves_nothing_behind():
    """Catches a queue of writes whose callers are gone, each holding its rows."""
    line, go, ran = turns.Turns("t"), threading.Event(), []
    first = asyncio.create_task(line.run(lambda: go.wait(PATIENCE_SECONDS)))
    second = asyncio.create_task(line.run(lambda: ran.append("second")))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    go.set()
    await first
    await line.close(lambda: None)
    assert ran == []


async def test_work_that_has_begun_is_waited_for():
    """Catches a cancellation that answers while the write is still running: the next one would overtake it."""
    line, begun, go, ended = turns.Turns("t"), threading.Event(), threading.Event(), []

    def work():
        begun.set()
        go.wait(PATIENCE_SECONDS)
        ended.append(True)

    task = asyncio.create_task(line.run(work))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
    await line.close(lambda: ended.append("closed"))
    assert ended == [True, "closed"]


async def test_the_error_of_abandoned_work_is_nobodys():
    """Catches an exception that is never retrieved and logged by the loop at random times."""
    line, go = turns.Turns("t"), threading.Event()

    def work():
        go.wait(PATIENCE_SECONDS)
        raise ValueError("late")

    task = asyncio.create_task(line.run(work))
    await asyncio.sleep(0.0)
    task.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await line.close(lambda: None)
