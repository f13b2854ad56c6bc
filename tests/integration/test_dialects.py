"""Dead letters of a lane in each dialect, in one topic, put back from there."""

from __future__ import annotations

import pytest
from tests.integration import lane_run, test_replay

from penstock.core import markers
from penstock.log import port
from penstock.machine import retention
from penstock.replay import book, job

_NATIVE = {
    "Penstock": "penstock.dead-letter.category",
    "Connect": "__connect.errors.stage",
    "Kafka": "__dlq.errors.group",
    "Spring": "kafka_dlt-exception-fqcn",
}


async def _headers(run: lane_run.LaneRun) -> list[set[str]]:
    records = await run.log.read(port.DEAD_LETTERS, 0, 0, max_bytes=10**9)
    return [set(record.headers) for record in records if not markers.is_marker(record.headers)]


@pytest.mark.parametrize("dialect", _NATIVE)
async def test_a_lane_writes_the_dialect_it_is_told_and_its_letters_can_be_put_back(tmp_path, dialect):
    """Catches a dialect that never reaches the lane, and letters that can't be replayed from one of them."""
    run = lane_run.LaneRun(tmp_path, lane_run.pipeline(deadLetters={"dialect": dialect}))
    async with run.opened():
        await test_replay.refused(run)
        assert [_NATIVE[dialect] in names for names in await _headers(run)] == [True, True]
        async with run.lane():
            done = await test_replay.replayed(run)
        assert (done.published, done.landed) == (2, 2)
        assert await run.rows() == [(f"e{number}", number) for number in range(10)]
        assert await test_replay.states(run) == {"e3": "Landed", "e7": "Landed"}


async def test_letters_of_several_dialects_and_of_strangers_stand_in_one_topic(tmp_path):
    """Catches a reader that goes by the pipeline's dialect of today, and a stranger's record that stops it or the lane."""
    first = lane_run.LaneRun(tmp_path, lane_run.pipeline(deadLetters={"dialect": "Connect"}))
    async with first.opened():
        await _strangers(first)
        await test_replay.refused(first)
    run = lane_run.LaneRun(tmp_path, lane_run.pipeline(deadLetters={"dialect": "Spring"}))
    async with run.opened():
        run.store.plan.append(test_replay.refuse("e3"))
        async with run.lane():
            failed = await test_replay.replayed(run)
            done = await test_replay.replayed(run)
        written = [name for names in await _headers(run) for name in _NATIVE.values() if name in names]
        opened = await book.Book.open(run.log)
        found = [one async for one in opened.letters()]
    assert (failed.landed, failed.failed_again, failed.survey.homeless, done.landed) == (1, 1, 1, 1)
    assert written == [_NATIVE["Kafka"], _NATIVE["Connect"], _NATIVE["Connect"], _NATIVE["Spring"]]
    assert sorted((one.letter.sink, one.state.value) for one in found) == [
        ("billing", "Outstanding"),
        ("warehouse", "Landed"),
        ("warehouse", "Landed"),
    ]
    assert len(opened.unreadable) == 1
    assert "__connect.errors.offset" in opened.unreadable[0]


async def _strangers(run: lane_run.LaneRun) -> None:
    broker = {"topic": b"orders", "partition": b"0", "offset": b"5", "group": b"billing", "message": b"no"}
    records = [
        {f"__dlq.errors.{name}": value for name, value in broker.items()},
        {"__connect.errors.topic": b"t", "__connect.errors.partition": b"0", "__connect.errors.offset": b"\0\1"},
    ]
    for sequence, headers in enumerate(records):
        record = port.NewRecord(value=b"{}", headers=headers, producer="stranger", sequence=sequence)
        await run.log.append(port.DEAD_LETTERS, 0, record)


async def test_neither_a_lane_nor_a_job_needs_replays_that_are_finished_and_trimmed(tmp_path):
    """Catches a restart that reads the replay log from its beginning, and a job that puts back what was trimmed."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await test_replay.refused(run)
        async with run.lane():
            await test_replay.replayed(run)
        lanes = {run.settings.sink: run.settings.lane}
        assert await retention.trim_replays(run.log, lanes, keep_seconds=-60.0) == 2
        run.store.plan.append(test_replay.refuse("f1"))
        await run.append({"id": "f0", "num": 10}, {"id": "f1", "num": 11})
        async with run.lane() as lane:
            await lane_run.drained(lane)
            done = await test_replay.replayed(run)
        assert isinstance(done, job.Progress)
        assert (done.published, done.landed) == (1, 1)
        assert len(await run.rows()) == 12
