"""One lane, from the log to the store: what lands, what is counted, and what a crash or a bad store leaves."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sqlite3

import pytest
from tests.integration import lane_run

from penstock.batcher import lane as batcher_lane
from penstock.core import addresses, breaker, deadletters, delivery, ledger, results
from penstock.log.embedded import store as embedded_store

QUICK = {"initialBackoffMilliseconds": 1, "maxBackoffMilliseconds": 2, "unclassifiedAttempts": 3}
DEDUPLICATE = {"key": ["id"], "windowSeconds": 600}


def _events(start: int, count: int) -> list[dict[str, object]]:
    return [{"id": f"e{number}", "num": number} for number in range(start, start + count)]


def _wanted(start: int, count: int) -> list[tuple[object, ...]]:
    return sorted((f"e{number}", number) for number in range(start, start + count))


async def test_events_land_once_in_batches_and_the_books_balance(tmp_path):
    """Catches the plain case being wrong: rows lost between chunks, or counted on the wrong side."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        for start in range(0, 100, 10):
            await run.append(*_events(start, 10))
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert await run.rows() == _wanted(0, 100)
        assert (totals.read, totals.written) == (100, 100)
        offset, metadata = await run.committed()
        assert (offset, metadata.counts) == (10, totals)
        assert all(batch.rows.num_rows <= 40 for batch in run.store.batches)


async def test_a_lane_goes_on_where_the_last_one_was(tmp_path):
    """Catches a lane that starts over, or after what it never finished."""
    run = lane_run.LaneRun(tmp_path)
    for start in (0, 10):
        async with run.opened():
            await run.append(*_events(start, 10))
            async with run.lane() as lane:
                totals = await lane_run.drained(lane)
    async with run.opened():
        assert await run.rows() == _wanted(0, 20)
    assert totals.read == 20


async def test_what_landed_before_a_crash_is_trimmed_by_address_although_batches_differ(tmp_path):
    """Catches landed ranges outside the rows' transaction, and trimming by batch: the retry's batches begin and end elsewhere."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await run.append(*_events(0, 5))
        async with run.lane() as lane:
            await lane_run.drained(lane)
        await run.rewind(0, ledger.LaneMetadata())
        await run.append(*_events(5, 5))
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert await run.rows() == _wanted(0, 10)
        assert (totals.read, totals.written) == (10, 10)


async def test_a_recreated_log_is_another_log_although_its_offsets_are_the_same(tmp_path):
    """Catches identity without the log id: the store remembers offset 0 of the old log, and new events would be trimmed."""
    run = lane_run.LaneRun(tmp_path)
    for start in (0, 10):
        async with run.opened():
            await run.append(*_events(start, 10))
            async with run.lane() as lane:
                await lane_run.drained(lane)
        for leftover in tmp_path.glob("log.db*"):
            leftover.unlink()
        run._sequence = 0
    async with run.opened():
        assert await run.rows() == _wanted(0, 20)


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
    monkeypatch.setattr("penstock.batcher.landing._CONFIG_RETRY_SECONDS", 0.2)
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

    def refuse_odd(batch: delivery.SinkBatch) -> delivery.WriteResult:
        numbers = batch.rows.column("num").to_pylist()
        return delivery.WriteResult(
            rejected=[
                results.RejectedRow(row=at, result_class=results.ResultClass.DATA, code="ODD", message=f"{number} is odd")
                for at, number in enumerate(numbers)
                if number % 2
            ]
        )

    async with lane_run.LaneRun(tmp_path).opened() as run:
        run.store.plan.append(refuse_odd)
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
        run.store.plan.extend([_choke_on(6)] * 200)
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
        run.store.plan.extend([_choke_on(0)] * 200)
        await run.append(*_events(0, 1))
        async with run.lane() as lane:
            await lane_run.until(lambda: len(run.store.batches) > 4)
            assert not await run.letters()
            await run.append(*_events(1, 5))
            await lane_run.drained(lane)
        assert await run.rows() == _wanted(1, 5)
        assert len(await run.letters()) == 1


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


EXPLODE = {"explode": {"field": "items", "as": "item"}, "select": [{"name": "id"}, {"name": "num", "value": "item"}]}


async def test_an_event_with_more_rows_than_a_batch_is_split_by_its_items_and_lands_once(tmp_path):
    """Catches a hard cap that is not hard, and halves of an event that land twice after a crash between them."""
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline(transform=EXPLODE)).opened() as run:
        await run.append({"id": "small", "items": [1]}, {"id": "huge", "items": list(range(100))}, {"id": "last", "items": [2]})
        async with run.lane() as lane:
            before = await lane_run.drained(lane)
        assert [batch.rows.num_rows for batch in run.store.batches] == [1, 40, 40, 21]
        await run.rewind(0, ledger.LaneMetadata())
        async with run.lane() as lane:
            after = await lane_run.drained(lane)
        assert (before.written, after) == (102, before)
        rows = await run.rows()
        assert len(rows) == len(set(rows)) == 102


async def test_an_event_without_bound_is_refused_as_a_whole(tmp_path):
    """Catches an array that fills the memory of everybody's rows."""
    run = lane_run.LaneRun(tmp_path, lane_run.pipeline(transform=EXPLODE))
    run.settings = dataclasses.replace(run.settings, event_rows=99)
    async with run.opened():
        await run.append({"id": "small", "items": [1]}, {"id": "huge", "items": list(range(100))})
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert await run.rows() == [("small", 1)]
        assert [letter.category for letter in await run.letters()] == [deadletters.Category.TOO_LARGE]
        assert (totals.dead_lettered_events, totals.made, totals.transformed) == (1, 1, 1)


async def test_blocks_that_make_no_row_finish_without_a_write(tmp_path):
    """Catches a lane whose offset waits for ever behind duplicates and filtered events."""
    text = lane_run.pipeline(deduplicate=DEDUPLICATE, transform={"filter": {"expression": "num >= 0"}})
    async with lane_run.LaneRun(tmp_path, text).opened() as run:
        await run.append({"id": "a", "num": -1})
        await run.append({"id": "a", "num": -1}, {"id": "b", "num": -1})
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert (totals.read, totals.duplicates, totals.filtered, totals.without_rows) == (3, 1, 2, 2)
        assert not run.store.batches
        assert (await run.committed())[0] == 2


async def test_the_same_key_at_0_500_and_700_seconds_is_a_duplicate_twice_across_a_restart(tmp_path):
    """Catches a table that forgets at a restart, and a window that starts again only with an event that was no duplicate."""
    moment = {"ns": 1_700_000_000 * 10**9}
    host = embedded_store.Host(wall_nanoseconds=lambda: moment["ns"], monotonic_nanoseconds=lambda: moment["ns"])
    run = lane_run.LaneRun(tmp_path, lane_run.pipeline(deduplicate=DEDUPLICATE), host)
    for seconds, duplicates in ((0, 0), (500, 1), (200, 2), (601, 2)):
        moment["ns"] += seconds * 10**9
        async with run.opened():
            await run.append({"id": "k", "num": seconds})
            async with run.lane() as lane:
                assert (await lane_run.drained(lane)).duplicates == duplicates
    async with run.opened():
        assert await run.rows() == [("k", 0), ("k", 601)]


async def test_a_judged_block_keeps_its_verdict_when_it_is_read_again(tmp_path):
    """The mutant that judges a block again on retry: after a crash before the commit its events would meet themselves."""
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline(deduplicate=DEDUPLICATE)).opened() as run:
        await run.append(*_events(0, 5), *_events(0, 2))
        async with run.lane() as lane:
            before = await lane_run.drained(lane)
        await run.rewind(0, ledger.LaneMetadata())
        async with run.lane() as lane:
            after = await lane_run.drained(lane)
        assert before == after
        assert after.duplicates == 2
        assert await run.rows() == _wanted(0, 5)


async def test_rows_go_to_the_table_their_template_names_each_in_one_piece_with_its_range(tmp_path):
    """Catches a template that reaches a table outside `allowed`, and pieces that share one identity."""
    table = {"template": "clicks_{kind}", "allowed": ["clicks_eu", "clicks_us"], "otherwise": "clicks_other"}
    text = lane_run.pipeline(sink_duckDB={"path": "unused.duckdb", "table": table})
    async with lane_run.LaneRun(tmp_path, text).opened() as run:
        kinds = ["eu", "us", "eu", "secrets; --", None]
        await run.append(*({"id": f"e{at}", "num": at, "kind": kind} for at, kind in enumerate(kinds)))
        async with run.lane() as lane:
            await lane_run.drained(lane)
        found = {
            name: await run.rows(f"SELECT num FROM {name} ORDER BY num") for name in ("clicks_eu", "clicks_us", "clicks_other")
        }
        assert found == {"clicks_eu": [(0,), (2,)], "clicks_us": [(1,)], "clicks_other": [(3,), (4,)]}
        await run.rewind(0, ledger.LaneMetadata())
        async with run.lane() as lane:
            assert (await lane_run.drained(lane)).written == 5
        assert await run.rows("SELECT count(*) FROM clicks_eu") == [(2,)]


async def test_a_zombie_that_comes_back_late_lands_nothing_twice(tmp_path):
    """Catches a store that takes a range again from a writer whose successor has landed it."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await run.append(*_events(0, 10))
        async with run.lane() as lane:
            await lane_run.drained(lane)
        late = run.store.batches[0]
        answer = await run.store._inner.write(late)
        assert answer.written == 0
        assert answer.already_landed == [
            addresses.Range(run.log.log_id, 0, addresses.Position(0), addresses.Position(1)),
        ]
        assert len(await run.rows()) == 10


async def test_a_paused_lane_holds_and_goes_on(tmp_path):
    """Catches a pause that loses the open batch."""
    async with lane_run.LaneRun(tmp_path).opened() as run, run.lane() as lane:
        lane.pause()
        await run.append(*_events(0, 10))
        assert lane.state is batcher_lane.State.PAUSED
        assert not await lane.drain(0.3)
        assert await run.rows() == []
        lane.resume()
        await lane_run.drained(lane)
        assert await run.rows() == _wanted(0, 10)


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


@pytest.fixture(autouse=True)
def _cleanup(tmp_path):
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)
