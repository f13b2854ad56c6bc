"""The work queue."""

from __future__ import annotations

import asyncio

import hypothesis
from hypothesis import strategies

from penstock_operator import queue


def _queue() -> queue.KeyedQueue[str]:
    return queue.KeyedQueue(lambda: 0.0)


async def test_many_events_about_one_object_are_one_look() -> None:
    """Catches 50 edits that become 50 looks."""
    waiting = _queue()
    for _ in range(50):
        waiting.add("a")
    waiting.add("b")
    assert [await waiting.get(), await waiting.get(), len(waiting)] == ["a", "b", 0]


async def test_what_happens_during_a_look_makes_another_one() -> None:
    """Catches an event that is lost because its object was just being looked at, and two looks at one object at once."""
    waiting = _queue()
    waiting.add("a")
    await waiting.get()
    waiting.add("a")
    waiting.add("a")
    assert len(waiting) == 0
    waiting.done("a")
    assert len(waiting) == 1
    waiting.done(await waiting.get())
    assert len(waiting) == 0


async def test_a_failed_look_waits_whatever_is_heard_meanwhile() -> None:
    """Catches a hot loop: an object whose failure itself makes an event."""
    waiting = _queue()
    waiting.add("a")
    waiting.done(await waiting.get(), failed=True)
    waiting.add("a")
    assert len(waiting) == 0
    waiting._retry("a")
    assert await waiting.get() == "a"
    waiting.close()


async def test_what_may_have_mended_it_ends_the_wait() -> None:
    """Catches an edit that puts right what was refused, and is looked at a minute later."""
    waiting = _queue()
    waiting.add("a")
    waiting.done(await waiting.get(), failed=True)
    waiting.add("a", at_once=True)
    assert await waiting.get() == "a"
    waiting.add("a", at_once=True)  # while it is being looked at
    waiting.done("a", failed=True)
    assert await waiting.get() == "a"
    waiting.add("a")
    waiting.done("a", failed=True)
    assert len(waiting) == 0
    waiting.close()


async def test_get_waits_until_there_is_something() -> None:
    """Catches a look at nothing, and one that never comes."""
    waiting = _queue()
    getting = asyncio.ensure_future(waiting.get())
    await asyncio.sleep(0)
    assert not getting.done()
    waiting.add("a")
    assert await getting == "a"


@hypothesis.given(strategies.integers(1, 10_000), strategies.floats(0, 1, exclude_max=True))
def test_waits_grow_and_are_bounded(failures: int, jitter: float) -> None:
    """Catches an overflow after days of failures, and a wait that shrinks."""
    wait = queue.backoff_seconds(failures, jitter)
    assert queue.FIRST_BACKOFF_SECONDS <= wait <= queue.MOST_BACKOFF_SECONDS * 1.5
    assert queue.backoff_seconds(failures + 1, jitter) >= wait


@hypothesis.given(strategies.lists(strategies.sampled_from(["add a", "add b", "get", "done", "fail", "later"]), max_size=40))
def test_no_object_is_looked_at_twice_at_once_and_none_is_forgotten(steps: list[str]) -> None:
    """Catches a key that is in two places, or in none."""
    asyncio.run(_follow(steps))


async def _follow(steps: list[str]) -> None:
    waiting, running, dirty, failed = _queue(), list[str](), set[str](), set[str]()
    for step in steps:
        verb, _, key = step.partition(" ")
        if verb == "add":
            waiting.add(key)
            dirty.add(key)
        elif verb == "get" and len(waiting):
            key = await waiting.get()
            assert key not in running
            running.append(key)
            dirty.discard(key)
        elif verb in ("done", "fail") and running:
            key = running.pop(0)
            waiting.done(key, failed=verb == "fail")
            failed |= {key} if verb == "fail" else set()
        elif verb == "later":
            for key in sorted(failed):
                waiting._retry(key)
            failed.clear()
    for key in running:
        waiting.done(key)
    for key in sorted(failed):
        waiting._retry(key)
    left = {await waiting.get() for _ in range(len(waiting))}
    assert dirty <= left
    waiting.close()
