"""One lane whose store, rows or log give trouble: whose fault it is decides what happens."""

from __future__ import annotations

import contextlib
import sqlite3

from tests.integration import lane_run

from penstock.batcher import lane as batcher_lane
from penstock.core import breaker, deadletters, delivery, ledger, results, selection
from penstock.log.embedded import front as embedded
from penstock.replay import survey

QUICK = {"initialBackoffMilliseconds": 1, "maxBackoffMilliseconds": 2, "unclassifiedAttempts": 3}


_events, _wanted = lane_run.events, lane_run.wanted


async def test_an_outage_opens_the_circuit_and_costs_nothing(tmp_path):
    """Catches dead letters made of an outage, and attempts that are used up by one."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        run.store.plan.extend([lane_run.fail(results.ResultClass.OUTAGE)] * 4)
        await run.append(*_events(0, 10))
        async with run.lane() as lane:
            await lane_run.until(lambda: lane.circuit.state is breaker.State.OPEN)
            assert await run.rows() == []
            totals = await lane_run.drained(lane)
        assert await run.rows() == _wanted(0, 10)
        assert not await run.letters()
        assert totals.written == 10


async def test_a_misconfigured_store_halts_the_lane_with_the_reason_and_dead_letters_nothing(tmp_path, monkeypatch):
    """Catches a wrong table that is treated as bad data."""
    monkeypatch.setattr("penstock.batcher.writing.landing._CONFIG_RETRY_SECONDS", 0.2)
    async with lane_run.LaneRun(tmp_path).opened() as run:
        run.store.plan.append(lane_run.fail(results.ResultClass.CONFIG))
        await run.append(*_events(0, 10))
        async with run.lane() as lane:
            await lane_run.until(lambda: lane.state is batcher_lane.State.HALTED)
            assert lane.failure is not None
            assert lane.failure.code == "TEST"
            await lane_run.drained(lane)
            assert lane.failure is None
        assert await run.rows() == _wanted(0, 10)
        assert not await run.letters()


async def test_rows_the_store_refuses_are_dead_lettered_and_their_neighbours_land(tmp_path):
    """Catches a batch that is lost, or repeated for ever, for one row; and a letter without the event's own bytes."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        run.store.plan.append(_refuse_odd)
        await run.append(*_events(0, 10))
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert await run.rows() == [(f"e{number}", number) for number in range(0, 10, 2)]
        letters = await run.letters()
        assert (totals.written, totals.dead_lettered_rows) == (5, 5)
        assert sorted(letter.original for letter in letters) == [b'{"id":"e%d","num":%d}' % (n, n) for n in range(1, 10, 2)]
        assert {(letter.category, letter.code, letter.received_at_microseconds) for letter in letters} == {
            (deadletters.Category.SINK_REJECTED, "ODD", 1)
        }


async def test_refused_rows_of_many_blocks_are_read_again_together(tmp_path, monkeypatch):
    """Catches a look into the log for each block with a row that is refused: with brokers far away, seconds for a batch."""
    reads = []
    async with lane_run.LaneRun(tmp_path).opened() as run:
        read = run.log.read

        async def noted(topic: str, partition: int, offset: int, *, max_bytes: int):
            reads.append(offset)
            return await read(topic, partition, offset, max_bytes=max_bytes)

        run.store.plan.extend([_refuse_odd] * 40)
        for start in range(0, 200, 5):
            await run.append(*_events(start, 5))
        monkeypatch.setattr(run.log, "read", noted)
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert (totals.written, totals.dead_lettered_rows) == (100, 100)
        assert await run.rows() == sorted((f"e{number}", number) for number in range(0, 200, 2))
        assert len({letter.id for letter in await run.letters()}) == 100
    assert len(reads) <= 10


def _refuse_odd(batch: delivery.SinkBatch) -> delivery.WriteResult | None:
    rejected = [
        results.RejectedRow(row=at, result_class=results.ResultClass.DATA, code="ODD", message=f"{number} is odd")
        for at, number in enumerate(batch.rows.column("num").to_pylist())
        if number % 2
    ]
    return delivery.WriteResult(rejected=rejected) if rejected else None


async def test_a_refused_row_stays_dead_lettered_when_the_crash_came_before_the_commit(tmp_path):
    """Catches a row that counts as written after a crash because its range has landed, although its letter says otherwise."""

    def refuse_first(batch: delivery.SinkBatch) -> delivery.WriteResult:
        refused = results.RejectedRow(row=0, result_class=results.ResultClass.DATA, code="NO", message="no")
        return delivery.WriteResult(rejected=[refused])

    async with lane_run.LaneRun(tmp_path).opened() as run:
        run.store.plan.append(refuse_first)
        await run.append(*_events(0, 10))
        async with run.lane() as lane:
            before = await lane_run.drained(lane)
        await run.rewind(0, ledger.LaneMetadata())
        async with run.lane() as lane:
            after = await lane_run.drained(lane)
        assert after == before
        assert len(await run.letters()) == 1
        assert await run.rows() == _wanted(1, 9)


async def test_a_lost_answer_is_asked_again_and_lands_once(tmp_path):
    """Catches a retry that doubles rows whose first answer was lost on the way."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        inner = run.store._inner

        class Deaf:
            def __getattr__(self, name):
                return getattr(inner, name)

            async def write(self, batch):
                run.store._inner = inner
                await inner.write(batch)
                raise RuntimeError("the answer is lost")

        run.store._inner = Deaf()
        await run.append(*_events(0, 10))
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert await run.rows() == _wanted(0, 10)
        assert totals.written == 10


def _choke_on(number: int):
    """A store that fails in a way no rule knows whenever it sees one row."""

    def failing(batch: delivery.SinkBatch) -> object:
        if number in batch.rows.column("num").to_pylist():
            raise RuntimeError("what now")
        return None

    return failing


async def test_a_failure_no_rule_knows_is_looked_for_and_costs_one_row(tmp_path):
    """Catches a batch that is tried for ever, and a half that is given up with its neighbours."""
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline(sink_retry=QUICK)).opened() as run:
        run.store.always = _choke_on(6)
        await run.append(*_events(0, 10))
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert await run.rows() == [row for row in _wanted(0, 10) if row != ("e6", 6)]
        (letter,) = await run.letters()
        assert (letter.category, letter.original) == (deadletters.Category.UNCLASSIFIED, b'{"id":"e6","num":6}')
        assert (totals.written, totals.dead_lettered_rows) == (9, 1)


async def test_a_store_that_fails_for_every_row_is_never_the_rows_fault(tmp_path):
    """Catches dead letters made of an outage whose error nobody knows."""
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline(sink_retry=QUICK)).opened() as run:
        run.store.plan.extend([lane_run.fail(results.ResultClass.UNCLASSIFIED)] * 60)
        await run.append(*_events(0, 10))
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert await run.rows() == _wanted(0, 10)
        assert not await run.letters()
        assert totals.written == 10


async def test_one_row_in_trouble_lets_others_pass_and_is_given_up_only_when_they_land(tmp_path):
    """Catches a lane of one slot that waits behind a poison row for ever."""
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline(sink_retry=QUICK)).opened() as run:
        run.store.always = _choke_on(0)
        await run.append(*_events(0, 1))
        async with run.lane() as lane:
            await lane_run.until(lambda: len(run.store.batches) > 4)
            assert not await run.letters()
            await run.append(*_events(1, 5))
            await lane_run.drained(lane)
        assert await run.rows() == _wanted(1, 5)
        assert len(await run.letters()) == 1


async def test_an_outage_of_one_write_is_no_row_s_fault_however_much_else_lands(tmp_path):
    """Catches an outage that is looked for row by row, with the row given up because its neighbours land."""
    batching = {"static": {"rows": 1, "lingerMilliseconds": 1, "concurrency": 2}, "limits": {"rows": 1, "concurrency": 2}}
    settings = lane_run.pipeline(sink_retry=QUICK, sink_batching=batching, sink_circuitBreaker={"mode": "Disabled"})
    async with lane_run.LaneRun(tmp_path, settings).opened() as run:
        run.store.most_writes = 2
        away = iter(range(40))

        def away_for_one(batch: delivery.SinkBatch) -> object:
            if 0 in batch.rows.column("num").to_pylist() and next(away, None) is not None:
                return lane_run.fail(results.ResultClass.OUTAGE)(batch)
            return None

        run.store.always = away_for_one
        await run.append(*_events(0, 10))
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert await run.rows() == _wanted(0, 10)
        assert not await run.letters()
        assert (totals.written, next(away, None)) == (10, None)


async def test_a_flood_of_refusals_pauses_the_lane_with_an_example_until_a_person_says_go_on(tmp_path):
    """Catches everything being dead-lettered one by one because a table has changed."""
    text = lane_run.pipeline(
        deadLetters={"flood": {"minimumEvents": 20, "percent": 20}},
        transform={"select": [{"name": "id"}, {"name": "num", "value": "CAST(kind AS BIGINT)"}]},
    )
    async with lane_run.LaneRun(tmp_path, text).opened() as run:
        await run.append(*({"id": f"e{n}", "kind": "no number"} for n in range(30)))
        async with run.lane() as lane:
            await lane_run.until(lambda: lane.state is batcher_lane.State.HALTED)
            assert lane.failure is not None
            assert lane.failure.code == "RejectFlood"
            assert "30 of 30 were refused" in lane.failure.message
            await run.append(*({"id": f"f{n}", "kind": "1"} for n in range(30)))
            assert not await lane.drain(0.3)
            lane.resume()
            totals = await lane_run.drained(lane)
        assert (totals.written, totals.dead_lettered_rows) == (30, 30)


async def test_an_expression_that_fails_costs_only_its_item(tmp_path):
    """Catches a poison row that takes its event, its block or its batch along."""
    transform = {
        "explode": {"field": "items", "as": "item"},
        "filter": {"expression": "num <> 3"},
        "select": [{"name": "id"}, {"name": "num", "value": "CAST(kind AS BIGINT) + item"}],
    }
    text = lane_run.pipeline(transform=transform)
    async with lane_run.LaneRun(tmp_path, text).opened() as run:
        await run.append(
            {"id": "a", "num": 1, "kind": "10", "items": [1, 2]},
            {"id": "b", "num": 2, "kind": "ten", "items": [1, 2]},
            {"id": "c", "num": 3, "kind": "10", "items": [1]},
            {"id": "d", "num": 4, "kind": "10", "items": []},
        )
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert await run.rows() == [("a", 11), ("a", 12), ("d", None)]
        letters = await run.letters()
        assert [(letter.ordinal, letter.items) for letter in letters] == [(1, (0,)), (1, (1,))]
        assert letters[0].expression == "spec.transform.select[1].value"
        assert (totals.made, totals.filtered, totals.written, totals.dead_lettered_rows) == (6, 1, 3, 2)


async def test_a_corrupt_block_halts_the_lane_and_is_no_dead_letter(tmp_path):
    """Catches a lane that skips what it can't read."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await run.append(*_events(0, 10))
        await run.log.close()
        _corrupt(tmp_path / "log.db")
    async with run.opened(), run.lane() as lane:
        await lane_run.until(lambda: lane.state is batcher_lane.State.HALTED)
        assert lane.failure is not None
        assert lane.failure.code == "DamagedLog"
        assert not await run.letters()


def _corrupt(path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE value SET content = zeroblob(50)")


async def test_a_log_put_back_from_a_copy_halts_the_lane_before_new_events_pass_for_old_ones(tmp_path):
    """Catches a silent loss: offsets are given out again, and the store takes new events for what landed under the same ones."""
    run = lane_run.LaneRun(tmp_path)
    async with run.opened():
        await run.append(*_events(0, 3))
        async with run.lane() as lane:
            await lane_run.drained(lane)
    copied = (tmp_path / "log.db").read_bytes()
    async with run.opened():
        await run.append(*_events(10, 3))
        async with run.lane() as lane:
            await lane_run.drained(lane)
    (tmp_path / "log.db").write_bytes(copied)
    run._producer, run._sequence = "other", 0
    async with run.opened(), run.lane() as lane:
        await lane_run.until(lambda: lane._reader.assigned)
        await run.append(*_events(20, 3))
        await lane_run.until(lambda: lane.state is batcher_lane.State.HALTED)
        assert lane.failure is not None
        assert lane.failure.code == "LogRewound"
        assert (await run.committed())[0] == 1
    embedded.renew(tmp_path / "log.db")
    async with run.opened(), run.lane() as lane:
        await lane_run.drained(lane)
        assert await run.rows() == sorted(_wanted(0, 3) + _wanted(10, 3) + _wanted(20, 3))


async def test_a_refusal_has_one_letter_on_either_side_of_a_new_log_id(tmp_path):
    """Catches a second name for an event judged again under the new id, the name of a lost event for another at its place, and
    a replay of the letter before the lane has judged its event again: the event would land twice."""
    transform = {"select": [{"name": "id"}, {"name": "num", "value": "CAST(kind AS BIGINT)"}]}
    run = lane_run.LaneRun(tmp_path, lane_run.pipeline(transform=transform))
    good, bad = [{"id": str(number), "kind": str(number)} for number in range(4)], {"id": "x", "kind": "oops"}
    async with run.opened():
        await run.append(good[0])
        async with run.lane() as lane:
            await lane_run.drained(lane)
    copied = (tmp_path / "log.db").read_bytes()
    async with run.opened():
        await run.append(good[1], bad)
        async with run.lane() as lane:
            await lane_run.drained(lane)
        (lost,) = await run.letters()
    (tmp_path / "log.db").write_bytes(copied)
    run._producer, run._sequence = "other", 0
    async with run.opened():
        before = run.log.log_id
        async with run.lane() as lane:
            await lane_run.until(lambda: lane._reader.assigned)
            await run.append(good[2], bad)
            await lane_run.until(lambda: lane.state is batcher_lane.State.HALTED)
            assert lane.failure is not None
            assert lane.failure.code == "LogRewound"
        (first,) = await run.letters()
        assert (first.log_id, first.offset, first.ordinal) == (lost.log_id, lost.offset, lost.ordinal)
        assert first.id != lost.id
    embedded.renew(tmp_path / "log.db")
    async with run.opened():
        order = survey.Order(filters=selection.Filters(), lanes=frozenset({run.settings.lane}))
        looked = await survey.survey(run.log, order)
        assert (len(looked.selected), looked.unsettled) == (0, 1)
        async with run.lane() as lane:
            await run.append(good[3], bad)
            await lane_run.drained(lane)
        again, later = await run.letters()
        assert (again.id, again.log_id) == (first.id, run.log.log_id) != (first.id, before)
        assert later.id not in (first.id, lost.id)
        assert len((await survey.survey(run.log, order)).selected) == 2
        assert await run.rows() == [(str(number), number) for number in range(4)]


async def test_a_block_without_rows_that_finished_by_itself_is_no_sign_of_a_log_put_back(tmp_path):
    """Catches a lane that halts for nothing: the watermark sent with one batch covers a rowless block of the next."""
    told = lane_run.pipeline(deduplicate={"key": ["id"]}, log={"type": "Embedded", "embedded": {"partitions": 2}})
    run = lane_run.LaneRun(tmp_path, told)
    down = False
    async with run.opened(), run.lane() as lane:
        run.store.always = lambda batch: lane_run.fail(results.ResultClass.OUTAGE)(batch) if down else None
        await lane_run.until(lambda: lane._reader.assigned)
        await run.append(*_events(0, 1))
        await lane_run.until(lambda: lane.accounts.commits()[0][0] == 1)
        down = True
        run._producer, run._sequence = "other", 0
        await run.append(*_events(1, 1), partition=1)
        await lane_run.until(lambda: len(run.store.batches) > 1)
        lane._reader.pause()
        # The poll that is under way takes this one; the two after it are then read together.
        await run.append(*_events(2, 1), partition=1)
        run._producer, run._sequence = "test", 1
        await lane_run.until(lambda: lane.dispatcher.open_rows == 1)
        await run.append(*_events(0, 1))
        await run.append(*_events(3, 1))
        lane._reader.resume()
        await lane_run.until(lambda: lane.dispatcher.open_rows == 2)
        down = False
        await lane_run.drained(lane)
        assert await run.rows() == sorted(_wanted(0, 4))
