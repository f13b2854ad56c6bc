"""What leaves an embedded log, and what never does."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Mapping, Sequence

import pytest

from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.log.embedded import store as embedded_store
from penstock.machine import retention

HOUR_SECONDS = 3600


class _Nobody:
    async def on_assigned(self, commits: Mapping[int, port.Commit | None]) -> None: ...

    async def on_revoked(self, partitions: Sequence[int]) -> None: ...


async def _filled(path: pathlib.Path, topic: str) -> embedded.EmbeddedLog:
    """A log of one partition with twelve records, the first twelve and a half hours old, one an hour since then."""
    elapsed = 0

    def monotonic() -> int:
        return elapsed

    began = time.time_ns() - 25 * HOUR_SECONDS * 10**9 // 2
    host = embedded_store.Host(wall_nanoseconds=lambda: began, monotonic_nanoseconds=monotonic)
    log = await embedded.EmbeddedLog.open(path / "log.db", partitions=1, host=host)
    for sequence in range(12):
        await log.append(topic, 0, port.NewRecord(value=b"v", headers={}, producer="p", sequence=sequence))
        elapsed += HOUR_SECONDS * 10**9
    return log


@pytest.mark.parametrize(
    ("hours", "window_hours", "read", "kept"),
    [(6.0, 0.0, 12, 5), (6.0, 10.0, 12, 9), (0.0, 0.0, 12, 0), (6.0, 0.0, 2, 10), (6.0, 0.0, None, 12), (100.0, 0.0, 12, 12)],
)
async def test_only_what_is_old_and_read_leaves(
    tmp_path: pathlib.Path, hours: float, window_hours: float, read: int | None, kept: int
) -> None:
    """Catches an unread record that is deleted, a window that is forgotten, and a bound that is off by one."""
    log = await _filled(tmp_path, port.EVENTS)
    try:
        for group in ("fast", "slow"):
            subscription = await log.subscribe(port.EVENTS, group, _Nobody())
            if read is not None:
                await subscription.commit({0: port.Commit(offset=12 if group == "fast" else read)})
        keep, window = hours * HOUR_SECONDS, window_hours * HOUR_SECONDS
        removed = await retention.trim(log, ["fast", "slow"], keep_seconds=keep, window_seconds=window)
        bounds = await log.bounds(port.EVENTS, 0)
        again = await retention.trim(log, ["fast", "slow"], keep_seconds=keep, window_seconds=window)
    finally:
        await log.close()
    assert (removed, bounds.end - bounds.start, bounds.end, again) == (12 - kept, kept, 12, 0)


async def test_letters_leave_when_they_are_old(tmp_path: pathlib.Path) -> None:
    """Catches dead letters that fill the log until the doors refuse for ever."""
    log = await _filled(tmp_path, port.DEAD_LETTERS)
    try:
        assert await retention.trim_letters(log, keep_seconds=3.0 * HOUR_SECONDS) == 10
        assert (await log.bounds(port.DEAD_LETTERS, 0)).start == 10
    finally:
        await log.close()


@pytest.mark.parametrize(("hours", "finished", "kept"), [(6.0, 12, 5), (6.0, 2, 10), (6.0, None, 12), (100.0, 12, 12)])
async def test_replays_leave_when_they_are_finished_and_old(
    tmp_path: pathlib.Path, hours: float, finished: int | None, kept: int
) -> None:
    """Catches a replay that is deleted before its lane has finished it, and a replay log that grows for ever."""
    topic = port.replay_topic("warehouse")
    log = await _filled(tmp_path, topic)
    try:
        subscription = await log.subscribe(topic, "lane", _Nobody())
        if finished is not None:
            await subscription.commit({0: port.Commit(offset=finished)})
        removed = await retention.trim_replays(log, {"warehouse": "lane"}, keep_seconds=hours * HOUR_SECONDS)
        bounds = await log.bounds(topic, 0)
    finally:
        await log.close()
    assert (removed, bounds.end - bounds.start) == (12 - kept, kept)


async def test_what_a_lane_would_read_again_from_its_snapshot_stays(tmp_path: pathlib.Path) -> None:
    """Catches a log trimmed up to the commit, after which the state of keys can't be made again."""
    log = await _filled(tmp_path, port.EVENTS)
    try:
        subscription = await log.subscribe(port.EVENTS, "lane", _Nobody())
        await subscription.commit({0: port.Commit(offset=10)})
        for offset in (4, 11):
            await log.save_snapshot(port.EVENTS, "lane", 0, port.Snapshot(offset=offset, content=b"s"))
        # The one above the commit can't be gone on from; the window is that of the first event read again.
        await retention.trim(log, ["lane"], keep_seconds=0.0, window_seconds=2.5 * HOUR_SECONDS, stateful=True)
        assert (await log.bounds(port.EVENTS, 0)).start == 2
    finally:
        await log.close()


async def test_the_window_before_an_event_that_waits_long_stays(tmp_path: pathlib.Path) -> None:
    """Catches a window counted from now: a lane held for hours would take a duplicate for new after a restart."""
    log = await _filled(tmp_path, port.EVENTS)
    try:
        subscription = await log.subscribe(port.EVENTS, "lane", _Nobody())
        await subscription.commit({0: port.Commit(offset=6)})
        await retention.trim(log, ["lane"], keep_seconds=0.0, window_seconds=1.5 * HOUR_SECONDS)
        assert (await log.bounds(port.EVENTS, 0)).start == 5
    finally:
        await log.close()
