"""One lane, from the log to the store: what lands, what is counted, and what a crash or a bad store leaves."""

from __future__ import annotations

import asyncio
import dataclasses

from tests.integration import lane_run

from penstock.batcher import lane as batcher_lane
from penstock.batcher.reading import holding, reader
from penstock.core import addresses, deadletters, ledger
from penstock.log.embedded import store as embedded_store

DEDUPLICATE = {"key": ["id"], "windowSeconds": 600}


_events, _wanted = lane_run.events, lane_run.wanted


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


async def test_a_partition_that_comes_back_to_the_same_lane_is_judged_anew_from_the_log(tmp_path):
    """Catches a deduplication table that outlives its assignment: the events read again would meet themselves in it."""
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline(deduplicate=DEDUPLICATE)).opened() as run:
        await run.append(*_events(0, 5), *_events(0, 2))
        async with run.lane() as lane:
            await lane_run.until(lambda: lane.accounts.totals().written == 5)
            await lane._reader.on_revoked([0])
            await lane._reader.on_assigned({0: None})
            totals = await lane_run.drained(lane)
        assert (totals.read, totals.duplicates, totals.written) == (7, 2, 5)
        assert await run.rows() == _wanted(0, 5)


async def test_a_commit_that_is_refused_before_the_group_tells_a_loss_leaves_nothing_out(tmp_path, monkeypatch):
    """Catches a lane that reads on behind what it has dropped: books and store would call it finished."""
    patiently, refused = reader.Reader._commit_patiently, asyncio.Event()

    async def commit(self: reader.Reader) -> None:
        if not refused.is_set():
            refused.set()
            raise holding.RevokedError
        await patiently(self)

    monkeypatch.setattr(reader.Reader, "_commit_patiently", commit)
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline()).opened() as run:
        await run.append(*_events(0, 3))
        async with run.lane() as lane:
            await refused.wait()
            await run.append(*_events(3, 3))
            totals = await lane_run.drained(lane)
        assert (totals.read, totals.written, totals.lost) == (6, 6, 0)
        assert await run.rows() == _wanted(0, 6)


async def test_rows_go_to_the_table_their_template_names_each_in_one_piece_with_its_range(tmp_path):
    """Catches a template that reaches a table outside `allowed`, and pieces that share one identity."""
    table = {"template": "clicks_{kind}", "allowed": ["eu", "us"], "otherwise": "clicks_other"}
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
