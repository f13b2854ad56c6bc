"""A replay that makes the same failures again stops by itself, and goes on when it is asked to."""

from __future__ import annotations

import pytest
from tests.integration import lane_run, test_replay

from penstock.api import load
from penstock.core import markers, selection
from penstock.log import port
from penstock.machine import directory, renames, replays, secrets, service
from penstock.replay import book, job, watch

_EVENTS = 60


async def _all_refused(run: lane_run.LaneRun) -> None:
    """Sixty events, none of which the store takes."""
    ids = [f"e{number:02}" for number in range(_EVENTS)]
    run.store.always = test_replay.refuse(*ids)
    await run.append(*({"id": id_, "num": 1} for id_ in ids))
    async with run.lane() as lane:
        await lane_run.drained(lane)


@pytest.mark.parametrize(
    ("finished", "failed", "suspends"),
    [(99, 99, False), (100, 20, False), (100, 21, True), (1_000, 201, True), (0, 0, False)],
)
def test_more_than_the_share_of_enough_letters_suspends(finished, failed, suspends):
    """Catches a bound that is off by one, and a first failure that stops everything."""
    assert bool(watch.SuspendOnFailure(percent=20, minimum=100).reason(finished, failed)) is suspends


async def test_a_replay_that_fails_again_stops_early_and_the_next_one_goes_on(tmp_path):
    """Catches a job that publishes everything before it looks, and letters that a suspended job leaves out for good."""
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline(deadLetters={"flood": {"mode": "Ignore"}})).opened() as run:
        await _all_refused(run)
        async with run.lane():
            suspend = watch.SuspendOnFailure(percent=20, minimum=10)
            done = await test_replay.replayed(run, pace=job.Pace(events_per_second=10), suspend=suspend)
            assert done.suspended
            assert done.finished
            assert done.published == done.failed_again < _EVENTS / 2
            run.store.always = lambda _: None
            again = await test_replay.replayed(run, pace=job.Pace(events_per_second=1_000), suspend=watch.SuspendOnFailure())
        assert (again.suspended, again.published, again.landed) == ("", _EVENTS, _EVENTS)
        assert len(await run.rows()) == _EVENTS


async def test_a_lane_that_does_not_move_is_no_failure(tmp_path):
    """Catches a job that never ends while its lane is paused."""
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline(deadLetters={"flood": {"mode": "Ignore"}})).opened() as run:
        await _all_refused(run)
        told = {"pace": job.Pace(events_per_second=20), "wait_seconds": 0.2, "suspend": watch.SuspendOnFailure()}
        done = await test_replay.replayed(run, **told)
        assert (done.suspended, done.published, done.under_way) == ("", _EVENTS, _EVENTS)


async def test_a_sink_is_not_renamed_in_the_middle_of_a_replay(tmp_path):
    """Catches letters that are being replayed for ever, by a lane that is called otherwise since."""
    data, pipeline = directory.DataDirectory(tmp_path), load.load_one(lane_run.PIPELINE)

    async def drained() -> bool:
        return await service.is_drained(pipeline, data, secrets.SecretStore(data.secrets_path, {}, []))

    async with lane_run.LaneRun(tmp_path).opened() as run:
        await test_replay.refused(run)
        assert await drained()
        await test_replay.replayed(run, wait_seconds=0.0)
        assert set((await test_replay.states(run)).values()) == {"Replaying"}
        assert not await drained()
        async with run.lane() as lane:
            await lane_run.drained(lane)
        assert set((await test_replay.states(run)).values()) == {"Landed"}
        assert await drained()


async def test_letters_of_a_renamed_sink_go_back_under_its_new_name(tmp_path):
    """Catches letters that are nobody's after a rename, and a replay that is looked for in the log of the old name."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await test_replay.refused(run)
        was = run.settings.lane
        async with run.lane() as lane:
            assert (await test_replay.replayed(run)).landed == 2
            run.store.plan.append(test_replay.refuse("f1"))
            await run.append({"id": "f1", "num": 11})
            await lane_run.drained(lane)
    described = lane_run.pipeline(sink_name="lake", sink_renamedFrom="warehouse")
    pipeline = load.load_one(described)
    async with lane_run.LaneRun(tmp_path, described).opened() as renamed:
        await renames.carry_over(renamed.log, pipeline)
        order = replays.order(pipeline, selection.Filters(sinks=frozenset({"lake"})))
        opened = await book.Book.open(renamed.log, renamed=order.renamed)
        before = sorted([(one.letter.sink, one.state.value) async for one in opened.letters()])
        assert before == [("lake", "Landed"), ("lake", "Landed"), ("lake", "Outstanding")]
        renamed.store.plan.append(test_replay.refuse("f1"))
        async with renamed.lane():
            done = [await test_replay.replayed(renamed, order) for _ in range(3)]
        records = await renamed.log.read(port.DEAD_LETTERS, 0, 0, max_bytes=10**9)
        found = [markers.decode(record.headers) for record in records if markers.is_marker(record.headers)]
        assert [(one.published, one.landed, one.failed_again) for one in done] == [(1, 0, 1), (1, 1, 0), (0, 0, 0)]
        assert [marker.lane for marker in found] == [was, was, *[renamed.settings.lane] * 2]
        assert await test_replay.states(renamed) == {"e3": "Landed", "e7": "Landed", "f1": "Landed"}
