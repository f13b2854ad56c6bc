"""What the one member of a group may count on beyond what every log promises."""

from __future__ import annotations

import asyncio

import pytest

from penstock.log import port
from penstock.log.embedded import front as embedded


class Listener:
    """Fails as often as it is told to, then accepts."""

    def __init__(self, failures: int = 0) -> None:
        self._failures = failures

    async def on_assigned(self, commits) -> None:
        if self._failures:
            self._failures -= 1
            raise RuntimeError("not yet")

    async def on_revoked(self, partitions) -> None: ...


@pytest.fixture
async def log(tmp_path):
    """Five records in partition 0 of two."""
    log = await embedded.EmbeddedLog.open(tmp_path / "log.db", partitions=2)
    for sequence in range(5):
        await log.append(port.EVENTS, 0, port.NewRecord(value=b"v", headers={}, producer="p", sequence=sequence))
    yield log
    await log.close()


async def offsets(subscription: port.Subscription) -> list[int]:
    return [record.offset for record in await subscription.poll(max_bytes=100, timeout_seconds=0.01)]


async def test_a_seek_before_the_first_poll_holds(log):
    """Catches an assignment that forgets what its owner asked for."""
    subscription = await log.subscribe(port.EVENTS, "g", Listener())
    subscription.seek(0, 3)
    assert await offsets(subscription) == [3, 4]


async def test_a_listener_that_fails_is_asked_again_before_anything_is_given(log):
    """Catches records that come without the lane having accepted its partitions."""
    subscription = await log.subscribe(port.EVENTS, "g", Listener(failures=1))
    with pytest.raises(RuntimeError, match="not yet"):
        await offsets(subscription)
    assert await offsets(subscription) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("overtake", "expected"), [("seek", [4]), ("pause", [])], ids=str)
async def test_a_seek_or_a_pause_during_a_read_overtakes_it(log, monkeypatch, overtake, expected):
    """Catches records of before a skip that are given after it."""
    subscription = await log.subscribe(port.EVENTS, "g", Listener())
    subscription.pause([0])
    await offsets(subscription)
    subscription.resume([0])
    readers = subscription._readers
    run = readers.run
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def slow(query):
        found = await run(query)
        reading.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(readers, "run", slow)
    waiting = asyncio.create_task(offsets(subscription))
    await reading.wait()
    if overtake == "seek":
        subscription.seek(0, 4)
    else:
        subscription.pause([0])
    go_on.set()
    assert await waiting == expected
