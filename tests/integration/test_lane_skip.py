"""Skipping what a lane can't read, over a real log that is really damaged; suspects that are innocent."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import sqlite3
from collections.abc import AsyncIterator

import pytest
from tests.integration import lane_run
from tests.integration.lane_run import drained, events, until, wanted

from penstock.batcher import lane as batcher_lane
from penstock.core import ledger
from penstock.log import port
from penstock.machine import skipping

KEYED = lane_run.pipeline(deduplicate={"key": ["id"]})


def _damage(path: pathlib.Path, offset: int, how: str) -> None:
    """What a bad disk, or a release to come, leaves behind."""
    with contextlib.closing(sqlite3.connect(path / "log.db")) as connection, connection:
        (value_id,) = connection.execute(
            "SELECT value_id FROM record JOIN partition ON partition.id = partition_id WHERE topic = 'events' AND offset = ?",
            (offset,),
        ).fetchone()
        if how == "changed":
            connection.execute("UPDATE value SET content = zeroblob(length(content)) WHERE id = ?", (value_id,))
        else:
            connection.execute("DELETE FROM record WHERE value_id = ?", (value_id,))


async def _halted(lane: batcher_lane.Lane, code: str) -> None:
    await until(lambda: lane.state is batcher_lane.State.HALTED)
    assert lane.failure is not None
    assert lane.failure.code == code
    assert "penstock skip" in lane.failure.remedy


@contextlib.asynccontextmanager
async def _stuck(run: lane_run.LaneRun, path: pathlib.Path, how: str) -> AsyncIterator[None]:
    """Five blocks of four events, of which the third is damaged."""
    async with run.opened():
        for block in range(5):
            await run.append(*events(4 * block, 4))
        _damage(path, 2, how)
        async with run.lane() as lane:
            await _halted(lane, "DamagedLog")
        yield


@pytest.mark.parametrize(("how", "events_lost", "unknown"), [("changed", 4, 0), ("missing", 0, 1)])
async def test_a_skipped_block_is_lost_and_counted_and_everything_around_it_lands(
    tmp_path: pathlib.Path, how: str, events_lost: int, unknown: int
) -> None:
    """Catches healthy blocks skipped along, lost ones counted twice (as a gap of their producer), and none counted."""
    run = lane_run.LaneRun(tmp_path)
    async with _stuck(run, tmp_path, how):
        made = await skipping.plan(run.log, run.settings, skipping.Asked())
        assert (made.start, made.to, made.events, made.unknown, made.readable) == (2, 3, events_lost, unknown, 0)
        await skipping.apply(run.log, run.settings, made)
        async with run.lane() as lane:
            counts = await drained(lane)
        assert (counts.read, counts.lost) == (16, events_lost + unknown)
        assert sorted(await run.rows()) == sorted([*wanted(0, 8), *wanted(12, 8)])
        offset, metadata = await run.committed()
        assert (offset, metadata.skipped) == (5, ((2, 3),))
        with pytest.raises(skipping.SkipRefusedError, match="nothing to skip"):
            await skipping.plan(run.log, run.settings, skipping.Asked())


@pytest.mark.parametrize(
    ("code", "headers"), [("BlockFormat", {"penstock-format": b"9"}), ("CorruptBlock", {"penstock-format": b"1"})]
)
async def test_a_block_nobody_can_decode_is_skipped_too(tmp_path: pathlib.Path, code: str, headers: dict[str, bytes]) -> None:
    """Catches a lane whose lag can't be told any more, and a skip that only knows what the log itself finds damaged."""
    run = lane_run.LaneRun(tmp_path)
    async with run.opened():
        await run.append(*events(0, 4))
        await run.log.append(port.EVENTS, 0, port.NewRecord(value=b"?", headers=headers, producer="other", sequence=0))
        await run.append(*events(4, 4))
        async with run.lane() as lane:
            await _halted(lane, code)
            assert (await lane.lag())[0] >= 4
        made = await skipping.plan(run.log, run.settings, skipping.Asked())
        assert (made.start, made.to, made.lost, made.reason.partition(":")[0]) == (1, 2, 1, code)
        await skipping.apply(run.log, run.settings, made)
        async with run.lane() as lane:
            assert (await drained(lane)).lost == 1
        assert sorted(await run.rows()) == wanted(0, 8)


async def test_what_can_be_read_is_not_skipped_unless_that_is_said(tmp_path: pathlib.Path) -> None:
    """Catches a slip of the keyboard that gives up events which would have landed."""
    run = lane_run.LaneRun(tmp_path)
    async with _stuck(run, tmp_path, "changed"):
        with pytest.raises(skipping.SkipRefusedError, match="1 of the 2 blocks"):
            await skipping.plan(run.log, run.settings, skipping.Asked(to=4))
        with pytest.raises(skipping.SkipRefusedError, match="ends at 5"):
            await skipping.plan(run.log, run.settings, skipping.Asked(to=9))
        made = await skipping.plan(run.log, run.settings, skipping.Asked(to=4, readable_too=True))
        await skipping.apply(run.log, run.settings, made)
        async with run.lane() as lane:
            assert (await drained(lane)).lost == 8
        assert sorted(await run.rows()) == sorted([*wanted(0, 8), *wanted(16, 4)])


async def test_a_gap_is_skipped_by_its_blocks(tmp_path: pathlib.Path) -> None:
    """Catches a lane that jumps over what was trimmed under it, and a skip that can't say how much it was."""
    run = lane_run.LaneRun(tmp_path)
    async with run.opened():
        async with run.lane() as lane:
            await run.append(*events(0, 4))
            await drained(lane)
        for block in range(1, 4):
            await run.append(*events(4 * block, 4))
        await run.log.trim(port.EVENTS, 0, 3)
        async with run.lane() as lane:
            await _halted(lane, "LogGap")
        made = await skipping.plan(run.log, run.settings, skipping.Asked())
        assert (made.start, made.to, made.events, made.unknown) == (1, 3, 0, 2)
        assert made.reason.startswith("LogGap")
        await skipping.apply(run.log, run.settings, made)
        async with run.lane() as lane:
            counts = await drained(lane)
        assert (counts.read, counts.lost) == (8, 2)
        assert sorted(await run.rows()) == sorted([*wanted(0, 4), *wanted(12, 4)])


async def test_a_rebuilt_deduplication_leaves_the_skipped_block_out(tmp_path: pathlib.Path) -> None:
    """Catches a verdict that depends on a restart: an original that was skipped makes no duplicates, before or after."""
    run = lane_run.LaneRun(tmp_path, KEYED)
    async with _stuck(run, tmp_path, "changed"):
        made = await skipping.plan(run.log, run.settings, skipping.Asked())
        await skipping.apply(run.log, run.settings, made)
        async with run.lane() as lane:
            await drained(lane)
        await run.append(*events(8, 4), *events(0, 2))
        async with run.lane() as lane:
            counts = await drained(lane)
        assert (counts.duplicates, counts.lost) == (2, 4)
        assert sorted(await run.rows()) == wanted(0, 20)


async def test_an_innocent_suspect_lands_like_any_other_block(tmp_path: pathlib.Path) -> None:
    """Catches a guard that takes three deaths for a proof: somebody may have killed the process three times."""
    run = lane_run.LaneRun(tmp_path)
    async with run.opened():
        for block in range(3):
            await run.append(*events(4 * block, 4))
        await run.rewind(0, dataclasses.replace(ledger.LaneMetadata(), starts=3, suspect=1))
        async with run.lane() as lane:
            counts = await drained(lane)
        assert (counts.read, counts.written, counts.dead_lettered_events) == (12, 12, 0)
        assert await run.letters() == []
        assert sorted(await run.rows()) == wanted(0, 12)
        assert (await run.committed())[1].starts == 0
