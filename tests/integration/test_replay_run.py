"""A run of a replay over a real log and store: counted from the log alone, whoever goes on with it, and done once."""

from __future__ import annotations

import dataclasses

import pytest
from tests.integration import lane_run, test_replay

from penstock.core import failpoints, runs
from penstock.log import port
from penstock.replay import job, run, survey

RUN = "a" * 32


class _KilledError(Exception):
    """Stands for kill -9 at a named point."""


def _killed_at(name: str) -> failpoints.Failpoint:
    def failpoint(reached: str) -> None:
        if reached == name:
            raise _KilledError

    return failpoint


def order(there: lane_run.LaneRun, **filters: object) -> survey.Order:
    return dataclasses.replace(test_replay.order(there, **filters), run=RUN)


async def counts(there: lane_run.LaneRun, wanted: survey.Order | None = None) -> tuple[int, ...]:
    """Selected, replayed, landed, failed, unfinished."""
    found = await run.account(there.log, wanted or order(there))
    return found.selected, found.replayed, found.landed, found.failed, found.unfinished


@pytest.mark.parametrize("at", ["replay.published", "replay.marked"])
async def test_counts_are_the_same_whoever_goes_on(tmp_path, at):
    """Catches counts that begin anew with a process, letters that a killed one had published and that count for nobody, and
    letters that land twice."""
    async with lane_run.LaneRun(tmp_path).opened() as there:
        await test_replay.refused(there)
        assert await counts(there) == (2, 0, 0, 0, 0)
        killed = job.Jobs(there.log, failpoint=_killed_at(at))
        going = killed.replay(order(there), pace=job.Pace(events_per_second=1), wait_seconds=0.0)
        await anext(going)
        with pytest.raises(_KilledError):
            await anext(going)
        async with there.lane():
            await test_replay.replayed(there, order(there))
        assert await counts(there) == (2, 2, 2, 0, 0)
        assert await there.rows() == [(f"e{number}", number) for number in range(10)]


async def test_what_fails_again_is_counted_and_left_alone_by_its_run(tmp_path):
    """Catches a run whose time lies ahead and that puts back what it has made fail itself, again and again."""
    async with lane_run.LaneRun(tmp_path).opened() as there:
        await test_replay.refused(there)
        there.store.plan.append(test_replay.refuse("e3"))
        async with there.lane():
            await test_replay.replayed(there, order(there))
            assert await counts(there) == (2, 2, 1, 1, 0)
            again = await test_replay.replayed(there, order(there))
            assert again.published == 0
            other = await test_replay.replayed(there, dataclasses.replace(order(there), run="b" * 32))
            assert (other.published, other.landed) == (1, 1)
        assert await counts(there) == (2, 2, 1, 1, 0)


async def test_letters_of_a_run_are_counted_by_kind_and_cause(tmp_path):
    """Catches a histogram of letters that were not meant, and one that changes when the letters have landed."""
    async with lane_run.LaneRun(tmp_path).opened() as there:
        await test_replay.refused(there)
        before = await run.account(there.log, order(there))
        none = await run.account(there.log, order(there, sinks=frozenset({"elsewhere"})))
        async with there.lane():
            await test_replay.replayed(there, order(there))
        after = await run.account(there.log, order(there))
        assert (none.selected, none.by_error, dict(none.by_category)) == (0, (), {})
        assert dict(before.by_category) == dict(after.by_category) == {"SinkRejected": 2}
        assert [one.count for one in before.by_error] == [one.count for one in after.by_error]
        assert sum(one.count for one in after.by_error) == 2
        assert after.began > 0


async def test_what_is_discarded_counts_for_its_run(tmp_path):
    """Catches a discard that is reported as none."""
    async with lane_run.LaneRun(tmp_path).opened() as there:
        await test_replay.refused(there)
        assert await job.Jobs(there.log).discard(order(there), reason="test data") == 2
        found = await run.account(there.log, order(there))
        assert (found.selected, found.replayed, found.discarded) == (2, 0, 2)


async def test_a_run_that_is_done_is_known_by_its_id_and_no_other(tmp_path):
    """Catches an end that is forgotten at a restart, that holds for another run, or that readers of markers trip over."""
    async with lane_run.LaneRun(tmp_path).opened() as there:
        await test_replay.refused(there)
        assert await run.done(there.log, RUN) is None
        told = runs.Report(phase=runs.Phase.COMPLETE, message="2 put back", selected=2, replayed=2, landed=2)
        await run.finish(there.log, RUN, told)
        await run.finish(there.log, "b" * 32, runs.Report(phase=runs.Phase.COMPLETE))
        assert await run.done(there.log, RUN) == told
        assert await run.done(there.log, "c" * 32) is None
        assert (await run.account(there.log, order(there))).unreadable == 0
        assert (await there.log.bounds(port.OUTCOMES, 0)).end == 2


async def test_a_pace_that_is_changed_holds_from_the_next_stretch(tmp_path):
    """Catches a rate that is read once."""
    slept: list[float] = []
    pace = job.Pace(events_per_second=1)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        pace.events_per_second = 1_000

    async with lane_run.LaneRun(tmp_path).opened() as there:
        there.store.plan.append(test_replay.refuse("e1", "e2", "e3"))
        await there.append(*({"id": f"e{number}", "num": number} for number in range(5)))
        async with there.lane() as lane:
            await lane_run.drained(lane)
        going = job.Jobs(there.log, sleep).replay(order(there), pace=pace, wait_seconds=0.0)
        assert [one.published async for one in going] == [0, 1, 3, 3]
        assert slept[0] > 0.5 > slept[1]


async def test_the_rate_is_kept(tmp_path):
    """Catches a rate that is told and not kept."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with lane_run.LaneRun(tmp_path).opened() as there:
        await test_replay.refused(there)
        seen = [
            progress.published
            async for progress in job.Jobs(there.log, sleep).replay(
                order(there), pace=job.Pace(events_per_second=1), wait_seconds=0.0
            )
        ]
        assert seen == [0, 1, 2, 2]
        assert len(slept) == 2
        assert all(0.5 < seconds <= 1.0 for seconds in slept)
