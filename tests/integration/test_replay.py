"""Dead letters put back through a lane over a real log and store: each unit lands once, whatever happens in between."""

from __future__ import annotations

import dataclasses

import pytest
from tests.integration import lane_run

from penstock.core import deadletters, delivery, ledger, markers, results, selection
from penstock.log import port
from penstock.replay import book, job, survey

ID = {"name": "id", "type": "String", "required": True}
EXPLODED = {
    "explode": {"field": "items", "as": "item", "indexAs": "place"},
    "select": [{"name": "id"}, {"name": "num", "value": "CAST(kind AS BIGINT) + item"}, {"name": "place"}],
}
MENDED = {
    **EXPLODED,
    "select": [
        EXPLODED["select"][0],
        {"name": "num", "value": "coalesce(TRY_CAST(kind AS BIGINT), 0) + item"},
        {"name": "place"},
    ],
}


def refuse(*ids: str):
    """A store that refuses these."""

    def refusing(batch: delivery.SinkBatch) -> delivery.WriteResult | None:
        rejected = [
            results.RejectedRow(row=at, result_class=results.ResultClass.DATA, code="NO", message=f"not '{id_}'")
            for at, id_ in enumerate(batch.rows.column("id").to_pylist())
            if id_ in ids
        ]
        return delivery.WriteResult(rejected=rejected) if rejected else None

    return refusing


def order(run: lane_run.LaneRun, **filters: object) -> survey.Order:
    return survey.Order(filters=selection.Filters(**filters), lanes=frozenset({run.settings.lane}))  # type: ignore[arg-type]


async def replayed(run: lane_run.LaneRun, wanted: survey.Order | None = None, **told: object) -> job.Progress:
    seen = [progress async for progress in job.Jobs(run.log).replay(wanted or order(run), **told)]  # type: ignore[arg-type]
    return seen[-1]


async def states(run: lane_run.LaneRun) -> dict[str, str]:
    opened = await book.Book.open(run.log)
    return {one.letter.original.decode()[7:9].strip('"'): one.state.value async for one in _whole(run, opened)}


async def _whole(run: lane_run.LaneRun, opened: book.Book):
    async for one in opened.letters():
        yield await book.with_original(run.log, one)


async def refused(run: lane_run.LaneRun) -> ledger.Counts:
    """Ten events of which the store refuses two; the lane's books."""
    run.store.plan.append(refuse("e3", "e7"))
    await run.append(*({"id": f"e{number}", "num": number} for number in range(10)))
    async with run.lane() as lane:
        return await lane_run.drained(lane)


async def test_refused_rows_are_replayed_and_land_while_the_main_books_stay_as_they_were(tmp_path):
    """Catches replayed rows that are trimmed as landed, that enter the main ledger, or that bring their neighbours along."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        before = await refused(run)
        async with run.lane() as lane:
            done = await replayed(run)
            assert await lane_run.drained(lane) == before
            again = lane.replay_log.accounts.totals()
            assert not lane.dispatcher.latencies
            assert not lane.replay_log.dispatcher.latencies
        assert (done.published, done.landed, done.failed_again, done.finished) == (2, 2, 0, True)
        assert (again.read, again.transformed, again.made, again.written, again.unexplained()) == (2, 2, 2, 2, 0)
        assert await run.rows() == [(f"e{number}", number) for number in range(10)]
        assert await states(run) == {"e3": "Landed", "e7": "Landed"}


async def test_a_second_replay_finds_nothing(tmp_path):
    """Catches a selection that does not look at the markers."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await refused(run)
        async with run.lane():
            await replayed(run)
            again = await replayed(run)
        assert (len(again.survey.selected), again.published, again.finished) == (0, 0, True)
        assert len(await run.rows()) == 10


async def test_only_the_failed_items_are_made_again_and_keep_their_numbers(tmp_path):
    """Catches a replay of the whole event, whose other items have landed, and items that are numbered anew."""
    run = lane_run.LaneRun(tmp_path, lane_run.pipeline(transform=EXPLODED))
    ask = "SELECT id, num, place FROM clicks ORDER BY ALL"
    async with run.opened():
        await run.append({"id": "a", "kind": "10", "items": [1, 2]}, {"id": "b", "kind": "ten", "items": [5, 6, 7]})
        run.store.plan.append(_refuse_place_1)
        async with run.lane() as lane:
            await lane_run.drained(lane)
        assert await run.rows(ask) == [("a", 11, 0)]
    mended = lane_run.LaneRun(tmp_path, lane_run.pipeline(transform=MENDED))
    async with mended.opened(), mended.lane() as lane:
        done = await replayed(mended, order(mended, expressions=frozenset({""})))
        assert done.landed == 1
        assert await mended.rows(ask) == [("a", 11, 0), ("a", 12, 1)]
        assert (await replayed(mended)).landed == 3
        assert await mended.rows(ask) == [("a", 11, 0), ("a", 12, 1), ("b", 5, 0), ("b", 6, 1), ("b", 7, 2)]
        await lane_run.drained(lane)


def _refuse_place_1(batch: delivery.SinkBatch) -> delivery.WriteResult | None:
    rows = [at for at, place in enumerate(batch.rows.column("place").to_pylist()) if place == 1]
    rejected = [results.RejectedRow(row=at, result_class=results.ResultClass.DATA, code="NO", message="no") for at in rows]
    return delivery.WriteResult(rejected=rejected) if rejected else None


async def test_what_fails_again_has_the_same_letter_with_one_more_attempt_until_it_is_quarantined(tmp_path):
    """Catches a second letter under another id or address, an attempt that is not counted, and a poison row replayed for ever."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await refused(run)
        [first] = [letter for letter in await run.letters() if b"e3" in letter.original]
        async with run.lane() as lane:
            for attempt in (2, 3, 4):
                run.store.plan.append(refuse("e3", "e7"))
                done = await replayed(run, order(run))
                assert (done.published, done.landed, done.failed_again) == (2, 0, 2)
                [again] = [letter for letter in await run.letters() if b"e3" in letter.original]
                assert (again.id, again.offset, again.ordinal, again.items) == (
                    first.id,
                    first.offset,
                    first.ordinal,
                    first.items,
                )
                assert (again.attempt, again.original, again.received_at_microseconds) == (attempt, first.original, 1)
            done = await replayed(run)
            assert (done.published, done.survey.quarantined) == (0, 2)
            assert set((await states(run)).values()) == {"Quarantined"}
            done = await replayed(run, dataclasses.replace(order(run), max_replays=4))
            assert done.landed == 2
            totals = lane.replay_log.accounts.totals()
            assert (totals.read, totals.written, totals.dead_lettered_rows, totals.unexplained()) == (8, 2, 6, 0)
        assert len(await run.rows()) == 10


async def test_an_event_too_large_for_its_time_is_replayed_whole(tmp_path, monkeypatch):
    """Catches an event-unit letter of which only the first item comes back."""
    run = lane_run.LaneRun(tmp_path, lane_run.pipeline(transform=EXPLODED))
    settings = run.settings
    run.settings = dataclasses.replace(settings, event_rows=2)
    async with run.opened():
        await run.append({"id": "a", "kind": "10", "items": [1, 2, 3]})
        async with run.lane() as lane:
            assert (await lane_run.drained(lane)).dead_lettered_events == 1
        async with run.lane():
            assert (await replayed(run)).failed_again == 1
        run.settings = settings
        async with run.lane():
            assert (await replayed(run)).landed == 1
        assert await run.rows("SELECT num, place FROM clicks ORDER BY ALL") == [(11, 0), (12, 1), (13, 2)]


async def test_rows_of_an_event_that_was_replayed_whole_have_letters_of_their_own(tmp_path):
    """Catches a row's letter that replaces the event's: one failed item would be replayed as the whole event."""
    run = lane_run.LaneRun(tmp_path, lane_run.pipeline(transform=EXPLODED))
    settings = run.settings
    run.settings = dataclasses.replace(settings, event_rows=2)
    async with run.opened():
        await run.append({"id": "a", "kind": "10", "items": [1, 2, 3]})
        async with run.lane() as lane:
            await lane_run.drained(lane)
        run.settings = settings
        async with run.lane():
            run.store.plan.append(_refuse_place_1)
            done = await replayed(run)
            assert (done.landed, done.failed_again) == (0, 1)
            assert [(letter.items, letter.attempt) for letter in await run.letters()] == [((), 1), ((1,), 2)]
            assert (await replayed(run)).landed == 1
        assert await run.rows("SELECT place FROM clicks ORDER BY ALL") == [(0,), (1,), (2,)]


@pytest.mark.parametrize(
    ("changed", "code", "message"),
    [
        (
            {"fields": [ID, {"name": "num", "type": "Int64", "path": "$.count", "required": True}]},
            "SchemaMismatch",
            "count",
        ),
        (
            {"fields": [ID, {"name": "num", "type": "String", "coerce": True}]},
            "",
            "",
        ),
    ],
    ids=["that it does not fit", "that it fits"],
)
async def test_originals_are_read_with_the_schema_of_today(tmp_path, changed, code, message):
    """Catches a replay of the columns of yesterday, and an event that is lost because it no longer fits."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await refused(run)
    today = lane_run.LaneRun(tmp_path, lane_run.pipeline(schema=changed))
    async with today.opened():
        today.store.plan.append(lambda batch: delivery.WriteResult(written=batch.rows.num_rows))
        async with today.lane():
            done = await replayed(today)
        letters = {letter.code: letter for letter in await today.letters()}
        if code:
            assert done.failed_again == 2
            assert message in letters[code].message
            assert (letters[code].stage, letters[code].unit, letters[code].items) == ("parse", deadletters.Unit.ROW, (0,))
        else:
            assert done.landed == 2
            assert [batch.rows.column("num").to_pylist() for batch in today.store.batches] == [["3", "7"]]


async def test_an_item_that_the_transform_no_longer_makes_fails_again_instead_of_vanishing(tmp_path):
    """Catches a replayed row that ends nowhere: made of no item, in no table and in no letter."""
    run = lane_run.LaneRun(tmp_path, lane_run.pipeline(transform=EXPLODED))
    async with run.opened():
        await run.append({"id": "a", "kind": "ten", "items": [1, 2]})
        async with run.lane() as lane:
            await lane_run.drained(lane)
    flat = lane_run.LaneRun(tmp_path, lane_run.pipeline(transform={"select": [{"name": "id"}, {"name": "num"}]}))
    async with flat.opened(), flat.lane():
        done = await replayed(flat)
        assert (done.published, done.landed, done.failed_again) == (2, 1, 1)
        assert [letter.code for letter in await flat.letters() if letter.attempt == 2] == ["ItemGone"]


async def test_a_crash_between_publish_and_marker_publishes_nothing_twice(tmp_path):
    """Catches a job that does not look at the tail of the replay log before it goes on."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await refused(run)
        found = await survey.survey(run.log, order(run))
        await job._Pen(run.log, "", order(run)).publish(found.selected[:1])
        async with run.lane() as lane:
            done = await replayed(run)
            assert (done.published, len(done.survey.unmarked)) == (1, 1)
            await lane_run.drained(lane)
        assert len(await run.rows()) == 10
        assert await states(run) == {"e3": "Landed", "e7": "Landed"}
        assert (await run.log.bounds(port.replay_topic("warehouse"), 0)).end == 2


@pytest.mark.parametrize("restarts", [False, True], ids=["at once", "after a restart"])
async def test_an_attempt_that_stands_twice_in_the_replay_log_is_made_once(tmp_path, restarts):
    """Catches a lane that trusts the job, and one that forgets at a restart what it has seen."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await refused(run)
        found = await survey.survey(run.log, order(run))
        for publish in range(2):
            await job._Pen(run.log, "", order(run)).publish(found.selected)
            if restarts or publish:
                async with run.lane() as lane:
                    await lane_run.drained(lane)
                    totals = lane.replay_log.accounts.totals()
        assert (totals.read, totals.duplicates, totals.written) == (4, 2, 2)
        assert len(await run.rows()) == 10


async def test_what_landed_before_a_crash_is_trimmed_and_what_was_refused_stays_refused(tmp_path):
    """Catches landed ranges without an identity for the replay log, and a refused row that counts as landed after a crash."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await refused(run)
        run.store.plan.append(refuse("e3"))
        async with run.lane() as lane:
            done = await replayed(run)
            assert (done.landed, done.failed_again) == (1, 1)
            before = lane.replay_log.accounts.totals()
        await _rewind(run)
        async with run.lane() as lane:
            await lane_run.drained(lane)
            after = lane.replay_log.accounts.totals()
        assert after == before
        assert len(await run.rows()) == 9
        assert len(await run.letters()) == 2


async def _rewind(run: lane_run.LaneRun) -> None:
    subscription = await run.log.subscribe(port.replay_topic("warehouse"), run.settings.lane, lane_run._Nobody())
    await subscription.commit({0: port.Commit(offset=0, metadata=ledger.to_metadata(ledger.LaneMetadata()))})
    await subscription.close()


async def test_a_row_whose_block_is_not_finished_waits(tmp_path):
    """Catches a replay of what the lane, after a crash, tries again by itself: it would land twice."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await refused(run)
        await run.rewind(0, ledger.LaneMetadata())
        found = await survey.survey(run.log, order(run))
        assert (len(found.selected), found.unsettled) == (0, 2)
        async with run.lane() as lane:
            await lane_run.drained(lane)
            assert (await replayed(run)).landed == 2
        assert len(await run.rows()) == 10


async def test_letters_of_a_lane_that_is_gone_stay_where_they_are(tmp_path):
    """Catches a record in a replay log that nobody reads."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await refused(run)
        done = await replayed(run, survey.Order(filters=selection.Filters(), lanes=frozenset({"default/clicks/other"})))
        assert (done.published, done.survey.homeless) == (0, 2)


async def test_an_outage_during_a_replay_costs_nothing(tmp_path):
    """Catches an outage that uses up an attempt, or that the wait for the outcome takes for an end."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await refused(run)
        run.store.plan.extend([lane_run.fail(results.ResultClass.OUTAGE)] * 4)
        async with run.lane() as lane:
            done = await replayed(run, wait_seconds=0.0)
            assert (done.published, done.under_way) == (2, 2)
            assert set((await states(run)).values()) <= {"Replaying", "Landed"}
            await lane_run.drained(lane)
        assert set((await states(run)).values()) == {"Landed"}
        assert len(await run.rows()) == 10


async def test_discarded_letters_are_replayed_by_nobody_and_the_lane_starts_over_them(tmp_path):
    """Catches a marker that stops a reader of the topic, and a letter that comes back after it was given up."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await refused(run)
        assert await job.Jobs(run.log).discard(order(run), reason="test data") == 2
        assert await job.Jobs(run.log).discard(order(run), reason="test data") == 0
        await run.rewind(0, ledger.LaneMetadata())
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
            assert (await replayed(run)).published == 0
        assert (totals.written, totals.dead_lettered_rows) == (8, 2)
        assert set((await states(run)).values()) == {"Discarded"}
        records = await run.log.read(port.DEAD_LETTERS, 0, 0, max_bytes=1 << 20)
        [first, _] = [markers.decode(record.headers) for record in records if markers.is_marker(record.headers)]
        assert first.reason == "test data"


async def test_two_replays_of_one_lane_do_not_run_at_once(tmp_path):
    """Catches two jobs that select the same letters."""
    async with lane_run.LaneRun(tmp_path).opened() as run:
        await refused(run)
        jobs = job.Jobs(run.log)
        first = jobs.replay(order(run))
        await anext(first)
        with pytest.raises(job.BusyError, match="warehouse"):
            await anext(jobs.replay(order(run)))
        await first.aclose()
        assert [progress.published async for progress in jobs.replay(order(run), wait_seconds=0.0)] == [0, 2, 2]


async def test_a_row_no_rule_knows_is_given_up_again_although_no_other_replay_lands(tmp_path):
    """Catches a replay of one row that waits for ever for evidence that the main log gives all the time."""

    def unknown(batch: delivery.SinkBatch) -> object:
        ids = batch.rows.column("id").to_pylist()
        return lane_run.fail(results.ResultClass.UNCLASSIFIED)(batch) if "e3" in ids else None

    async with lane_run.LaneRun(tmp_path).opened() as run:
        run.store.plan.append(refuse("e3"))
        await run.append(*({"id": f"e{number}", "num": number} for number in range(4)))
        async with run.lane() as lane:
            await lane_run.drained(lane)
        run.store.plan.extend([unknown] * 1_000)
        async with run.lane():
            progress = job.Jobs(run.log).replay(order(run), wait_seconds=20.0)
            assert [(await anext(progress)).published for _ in range(2)] == [0, 1]
            await lane_run.until(lambda: len(run.store.plan) < 999)
            await run.append({"id": "other", "num": 1})
            assert [one.failed_again async for one in progress][-1] == 1
        assert [(one.code, one.category, one.attempt) for one in await run.letters()] == [
            ("TEST", deadletters.Category.UNCLASSIFIED, 2)
        ]
