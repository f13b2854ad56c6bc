"""Keyed state in a lane over a real log: what rows hold is what a reader of the whole log would have worked out."""

from __future__ import annotations

import dataclasses
import pathlib
import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from tests.integration import lane_run

from penstock.batcher.reading import prepare
from penstock.core import blocks as blocks_format
from penstock.core import delivery, parse, results, selection
from penstock.core.state import snapshot
from penstock.log import port
from penstock.replay import job, survey

STATE = {
    "key": ["user"],
    "maxKeysPerPartition": 8,
    "values": [
        {"name": "before", "type": "Count"},
        {"name": "spent", "type": "Sum", "field": "num"},
        {"name": "previous", "type": "Last", "field": "kind"},
    ],
}
FIELDS = [
    {"name": "id", "type": "String", "required": True},
    {"name": "user", "type": "String", "required": True},
    {"name": "num", "type": "Int64"},
    {"name": "kind", "type": "String"},
]
SELECT = [{"name": name} for name in ("id", "before", "spent", "previous")]
SQL = "SELECT id, before, spent, previous FROM clicks ORDER BY ALL"

Block = Sequence[dict[str, Any]]
Row = tuple[Any, ...]


def text(*, state: Any = None, deduplicate: Any = None, deadLetters: Any = None, **transform: Any) -> str:  # noqa: N803
    described = {"schema": {"fields": FIELDS}, "source": {"ingest": {"partitionBy": ["user"]}}}
    described |= {"deadLetters": deadLetters} if deadLetters else {}
    described |= {"deduplicate": {"key": ["user", "id"]} if deduplicate is None else deduplicate}
    return lane_run.pipeline(**described, transform={"state": state or STATE, "select": SELECT} | transform)


def blocks(seed: int, count: int, *, users: int = 12) -> list[Block]:
    """Few users, some events twice, some values NULL."""
    chance = random.Random(seed)
    made: list[dict[str, Any]] = []
    found: list[Block] = []
    for _ in range(count):
        block = []
        for _ in range(chance.randrange(1, 9)):
            again = made and chance.random() < 0.2
            new = {"id": f"e{len(made)}", "user": f"u{chance.randrange(users)}", "num": chance.choice([None, 1, 20])}
            one = chance.choice(made) if again else new | {"kind": chance.choice([None, "a", "b", f"k{len(made)}"])}
            made.append(one)
            block.append(one)
        found.append(block)
    return found


def expected(log: Sequence[Block], *, most: int = 8) -> list[Row]:
    """The rule in plain Python: duplicates aside, each key's past; after each block the keys seen longest ago go."""
    known: dict[str, tuple[int, int, str | None]] = {}
    judged: set[tuple[str, str]] = set()
    rows = []
    for block in log:
        for event in block:
            mark = (event["user"], event["id"])
            if mark in judged:
                continue
            judged.add(mark)
            count, total, last = known.pop(event["user"], (0, 0, None))
            rows.append((event["id"], count, total, last))
            known[event["user"]] = (count + 1, total + (event["num"] or 0), event["kind"] or last)
        if len(known) > most:
            for user in list(known)[: len(known) - most * 3 // 4]:
                del known[user]
    return sorted(rows, key=lambda row: row[0])


def by_id(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row[0])


async def start(run: lane_run.LaneRun, snapshot_events: int = 20) -> None:
    run.settings = dataclasses.replace(run.settings, snapshot_events=snapshot_events)


async def test_rows_hold_what_came_before_in_the_log_whatever_restarts_there_were(tmp_path: pathlib.Path) -> None:
    """Catches state that begins anew after a restart, is counted twice, or counts what landed instead of what was read.

    Not every stretch ends with a snapshot, so that some of the log has to be run over again.
    """
    log = blocks(1, 80)
    run = lane_run.LaneRun(tmp_path, text())
    await start(run, 50)
    for stop in range(0, 80, 8):
        async with run.opened():
            for block in log[stop : stop + 8]:
                await run.append(*block)
            async with run.lane() as lane:
                await lane_run.until(lambda: lane.accounts.totals().written > 0)
                if stop % 16:
                    await lane_run.drained(lane)
    async with run.opened(), run.lane() as lane:
        await lane_run.drained(lane)
        assert by_id(await run.rows(SQL)) == expected(log)
        assert len(await run.log.snapshot_offsets(port.EVENTS, run.settings.lane, 0)) == 2


async def test_a_crash_between_a_write_and_its_commit_finds_the_same_state(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a snapshot that replaces the last one the committed offset can still use."""
    log = blocks(2, 60)
    run = lane_run.LaneRun(tmp_path, text())
    await start(run, 5)
    async with run.opened():
        for block in log[:20]:
            await run.append(*block)
        async with run.lane() as lane:
            await lane_run.drained(lane)
        held = await run.committed()
        before = held[1].counts.written
        first = await run.log.snapshot_offsets(port.EVENTS, run.settings.lane, 0)
        run.settings = dataclasses.replace(run.settings, commit_seconds=1e6)
        async with run.lane() as lane:
            for end in (40, 60):
                for block in log[end - 20 : end]:
                    await run.append(*block)
                landed = len(expected(log[:end])) - len(expected(log[:20]))
                await lane_run.until(lambda landed=landed: lane.accounts.totals().written - before == landed)
                monkeypatch.setattr(lane._subscription, "commit", _refused)
                with pytest.raises(port.LogError):
                    await lane.commit()
            monkeypatch.setattr(lane, "commit", _nothing)
        assert (await run.committed())[0] == held[0]
        assert set(await run.log.snapshot_offsets(port.EVENTS, run.settings.lane, 0)) & set(first)
        async with run.lane() as lane:
            await lane_run.drained(lane)
        assert by_id(await run.rows(SQL)) == expected(log)


async def _refused(_: object) -> None:
    raise port.LogError("as told")


async def _nothing() -> None: ...


async def test_what_is_filtered_or_dead_lettered_counts_too(tmp_path: pathlib.Path) -> None:
    """Catches state that depends on what became of an event: a store's refusal would then change later rows."""
    run = lane_run.LaneRun(tmp_path, text(filter={"expression": "before % 2 = 1"}))
    events = [{"id": f"e{number}", "user": "u", "num": 1, "kind": str(number)} for number in range(6)]
    async with run.opened():
        run.store.plan.extend([lane_run.fail(results.ResultClass.OUTAGE)] * 2)
        await run.append(*events)
        async with run.lane() as lane:
            totals = await lane_run.drained(lane)
        assert await run.rows(SQL) == [("e1", 1, 1, "0"), ("e3", 3, 3, "2"), ("e5", 5, 5, "4")]
        assert totals.filtered == 3


async def test_a_value_that_is_added_begins_empty_and_the_others_go_on(tmp_path: pathlib.Path) -> None:
    """Catches an edit that makes earlier events count for a new value, or depend on where the last snapshot was."""
    events = [{"id": f"e{number}", "user": "u", "num": 1, "kind": "k"} for number in range(9)]
    only_count = STATE | {"values": STATE["values"][:1]}  # type: ignore[index]
    run = lane_run.LaneRun(tmp_path, text(state=only_count, select=SELECT[:2]))
    async with run.opened():
        await run.append(*events[:5])
        async with run.lane() as lane:
            await lane_run.drained(lane)
    wider = lane_run.LaneRun(tmp_path, text(state=STATE | {"maxKeysPerPartition": 9}))
    wider._producer = "second"
    wider.settings = dataclasses.replace(wider.settings, tables=("wider",))
    async with wider.opened():
        await wider.append(*events[5:7])
        async with wider.lane() as lane:
            await lane_run.drained(lane)
        await wider.append(*events[7:])
        async with wider.lane() as lane:
            await lane_run.drained(lane)
        found = await wider.rows(SQL.replace("clicks", "wider"))
    assert found == [("e5", 5, 0, None), ("e6", 6, 1, "k"), ("e7", 7, 2, "k"), ("e8", 8, 3, "k")]


async def test_state_that_was_taken_away_and_comes_back_begins_empty(tmp_path: pathlib.Path) -> None:
    """Catches a snapshot of long ago that is gone on from."""
    events = [{"id": f"e{number}", "user": "u", "num": 1, "kind": "k"} for number in range(3)]
    for number, state in enumerate((STATE, None, STATE)):
        select = SELECT if state else [{"name": "id"}]
        run = lane_run.LaneRun(tmp_path, text(select=select))
        if state is None:
            run.settings = dataclasses.replace(run.settings, transform=dataclasses.replace(run.settings.transform, state=None))
        run._producer = f"p{number}"
        run.settings = dataclasses.replace(run.settings, tables=(f"t{number}",))
        async with run.opened():
            await run.append(events[number])
            async with run.lane() as lane:
                await lane_run.drained(lane)
            assert bool(await run.log.snapshot_offsets(port.EVENTS, run.settings.lane, 0)) == (state is not None)
            if number == 2:
                assert await run.rows("SELECT before FROM t2") == [(0,)]


async def test_a_snapshot_of_another_version_halts_the_lane_and_says_so(tmp_path: pathlib.Path) -> None:
    """Catches state that silently begins anew under an older release."""
    run = lane_run.LaneRun(tmp_path, text())
    async with run.opened():
        await run.append({"id": "e", "user": "u"})
        async with run.lane() as lane:
            await lane_run.drained(lane)
        kept = await run.log.load_snapshot(port.EVENTS, run.settings.lane, 0, 1 << 40)
        assert kept is not None
        newer = kept.content[:8] + (snapshot.VERSION + 1).to_bytes(4, "little") + kept.content[12:]
        await run.log.save_snapshot(port.EVENTS, run.settings.lane, 0, dataclasses.replace(kept, content=newer))
        async with run.lane() as lane:
            await lane_run.until(lambda: lane.failure is not None)
            assert lane.failure is not None
            assert lane.failure.code == "StateSnapshot"
            assert f"version {snapshot.VERSION + 1}" in lane.failure.message


async def test_an_offset_that_was_set_back_behind_all_state_halts_the_lane(tmp_path: pathlib.Path) -> None:
    """Catches state that begins empty in the middle of what it has seen."""
    run = lane_run.LaneRun(tmp_path, text())
    await start(run, 1)
    async with run.opened():
        for block in blocks(3, 30):
            await run.append(*block)
            async with run.lane() as lane:
                await lane_run.drained(lane)
        _, metadata = await run.committed()
        await run.rewind(1, metadata)
        async with run.lane() as lane:
            await lane_run.until(lambda: lane.failure is not None)
            assert lane.failure is not None
            assert lane.failure.code == "StateLost"


async def test_state_whose_events_have_left_the_log_halts_the_lane(tmp_path: pathlib.Path) -> None:
    """Catches a run forward that leaves out what is gone, and one that can't say what to do about it."""
    run = lane_run.LaneRun(tmp_path, text())
    async with run.opened():
        for block in blocks(4, 5):
            await run.append(*block)
        async with run.lane() as lane:
            await lane_run.drained(lane)
        await run.log.trim(port.EVENTS, 0, 3)
        async with run.lane() as lane:
            await lane_run.until(lambda: lane.failure is not None)
            assert lane.failure is not None
            assert lane.failure.code == "StateLost"
            assert "without spec.transform.state" in lane.failure.remedy


async def test_duplicates_are_told_as_then_when_the_window_was_changed_since(tmp_path: pathlib.Path) -> None:
    """Catches a run forward that judges by today's settings: what was a duplicate then would count now."""
    event = {"id": "e", "user": "u", "num": 1, "kind": "k"}
    narrow = {"key": ["user", "id"], "maxEventsPerPartition": 1000}
    run = lane_run.LaneRun(tmp_path, text(deduplicate=narrow))
    async with run.opened():
        await run.append(event)
        await run.append(event)
        async with run.lane() as lane:
            assert (await lane_run.drained(lane)).duplicates == 1
    none = lane_run.LaneRun(tmp_path, text())
    none.settings = dataclasses.replace(none.settings, deduplicate=None, tables=("after",))
    none._producer = "second"
    async with none.opened():
        for _ in range(2):
            await none.append(event)
            async with none.lane() as lane:
                await lane_run.drained(lane)
        assert await none.rows("SELECT before FROM after ORDER BY ALL") == [(1,), (2,)]


@pytest.mark.parametrize("dialect", ["Penstock", "Connect"])
async def test_a_replayed_letter_sees_what_the_event_saw(tmp_path: pathlib.Path, dialect: str) -> None:
    """Catches a replay that takes a key's state of today for that of its place, counts the event a second time, or knows none;
    a second letter that forgets it, and what a transform refuses told apart from what a store does."""
    failing = [*SELECT[:1], {"name": "before", "value": "CASE WHEN kind = 'bad' THEN CAST(kind AS BIGINT) ELSE before END"}]
    run = lane_run.LaneRun(tmp_path, text(select=[*failing, *SELECT[2:]], deadLetters={"dialect": dialect}))
    kinds = ["a", "b", "bad", "c", "d"]
    async with run.opened():
        run.store.plan.append(_refuse_e3)
        for stretch in ((0, 1), (2, 3, 4)):
            await run.append(*({"id": f"e{at}", "user": "u", "num": 10, "kind": kinds[at]} for at in stretch))
        async with run.lane() as lane:
            await lane_run.drained(lane)
        assert [row[0] for row in await run.rows(SQL)] == ["e0", "e1", "e4"]
    mended = lane_run.LaneRun(tmp_path, text())
    async with mended.opened(), mended.lane() as lane:
        order = survey.Order(filters=selection.Filters(), lanes=frozenset({mended.settings.lane}))
        for plan, landed in ((_refuse_e3, 1), (lambda _: None, 1)):
            mended.store.plan.append(plan)
            seen = [one async for one in job.Jobs(mended.log).replay(order)]
            assert seen[-1].landed == landed
        await lane_run.drained(lane)
        previous = [None, *kinds]
        assert await mended.rows(SQL) == [(f"e{at}", at, 10 * at, previous[at]) for at in range(5)]


def _refuse_e3(batch: delivery.SinkBatch) -> delivery.WriteResult | None:
    found = [at for at, id_ in enumerate(batch.rows.column("id").to_pylist()) if id_ == "e3"]
    rejected = [results.RejectedRow(row=at, result_class=results.ResultClass.DATA, code="NO", message="no") for at in found]
    return delivery.WriteResult(rejected=rejected) if rejected else None


def test_a_letter_that_was_written_without_state_has_none(tmp_path: pathlib.Path) -> None:
    """Catches an older letter that halts its lane, or is given the state of today."""
    run = lane_run.LaneRun(tmp_path, text())
    preparer = prepare.Preparer(run.settings, "log")
    parsed = parse.EventParser(run.settings.event_schema, 1 << 20).parse([b'{"id":"e","user":"u"}'])
    batch = parsed.batch
    for name, kind in ((blocks_format.ORIGINAL, pa.binary()), (blocks_format.RECEIVED_AT, pa.timestamp("us", tz="UTC"))):
        if name not in batch.schema.names:
            batch = batch.append_column(pa.field(name, kind), pa.nulls(1, kind))
    wanted = preparer.wanted(batch, [b""]).to_pylist()[0]
    assert {name: wanted[name] for name in wanted if name.startswith("_state_")} == {
        "_state_before": None,
        "_state_spent": None,
        "_state_previous": None,
    }
    assert not preparer.states
