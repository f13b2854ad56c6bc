"""`where`: the fate of an event, found from the log alone."""

from __future__ import annotations

import pytest
from tests.integration import lane_run

from penstock.api import lower
from penstock.core import ledger
from penstock.log.embedded import store as embedded_store
from penstock.machine import where

TEXT = lane_run.pipeline(
    deduplicate={"key": ["id"], "windowSeconds": 600},
    transform={
        "explode": {"field": "items", "as": "item"},
        "filter": {"expression": "num <> 0"},
        "select": [{"name": "id"}, {"name": "num", "value": "CAST(kind AS BIGINT) + item"}],
    },
)


async def _fates(run: lane_run.LaneRun, *texts: str) -> list[tuple[int, int, str, str]]:
    search = where.Search(run._pipeline, run.log)
    wanted = where.conditions(lower.event_schema(run._pipeline), texts)
    return [
        (sighting.address.position.offset, sighting.address.position.ordinal, fate.fate.value, fate.detail)
        async for sighting in search.sightings(wanted)
        for fate in sighting.fates
    ]


async def test_each_fate_is_told_apart(tmp_path):
    """Catches an answer that guesses: landed for what was filtered, pending for what was refused."""
    moment = {"ns": 1_700_000_000 * 10**9}
    host = embedded_store.Host(wall_nanoseconds=lambda: moment["ns"], monotonic_nanoseconds=lambda: moment["ns"])
    async with lane_run.LaneRun(tmp_path, TEXT, host).opened() as run:
        await run.append(
            {"id": "landed", "num": 1, "kind": "1", "items": [1, 2]},
            {"id": "filtered", "num": 0, "kind": "1", "items": [1]},
            {"id": "refused", "num": 1, "kind": "x", "items": [1]},
            {"id": "landed", "num": 1, "kind": "1", "items": [1]},
        )
        await run.append({"id": "landed", "num": 1, "kind": "1", "items": [1]})
        async with run.lane() as lane:
            await lane_run.drained(lane)
        moment["ns"] += 601 * 10**9
        await run.append({"id": "landed", "num": 1, "kind": "1", "items": [1]})
        landed = await _fates(run, "id=landed")
        log_id = run.log.log_id
        assert landed == [
            (2, 0, "Pending", "unread or on its way"),
            (1, 0, "Duplicate", f"of {log_id}/0/0/3/0"),
            (0, 3, "Duplicate", f"of {log_id}/0/0/0/0"),
            (0, 0, "Landed", "2 rows"),
        ]
        assert await _fates(run, "id=filtered") == [(0, 1, "Filtered", "it makes no row for this sink")]
        ((*_, fate, detail),) = await _fates(run, "id=refused", "num=1")
        assert fate == "DeadLetter"
        assert "Could not convert string" in detail
        assert await _fates(run, "id=never sent") == []
        async with run.lane() as lane:
            await lane_run.drained(lane)
        assert (await _fates(run, "id=landed"))[0] == (2, 0, "Landed", "1 row")


async def test_an_event_outside_the_window_is_no_duplicate_and_one_before_the_lane_is_not_its_own(tmp_path):
    """Catches a search that ignores the window, or the lane's start."""
    async with lane_run.LaneRun(tmp_path, lane_run.pipeline()).opened() as run:
        await run.append({"id": "a", "num": 1})
        await run.append({"id": "a", "num": 1})
        await run.rewind(2, ledger.LaneMetadata(start_offset=1))
        assert [fate for _, _, fate, _ in await _fates(run, "id=a")] == ["Landed", "BeforeStart"]


@pytest.mark.parametrize("text", ["id", "nobody=1", "num=many"])
def test_a_condition_that_can_not_be_met_names_the_fields(text):
    """Catches a search through the whole log for a misspelt field."""
    declared = lower.event_schema(lane_run.load.load_one(lane_run.PIPELINE))
    with pytest.raises(where.UnknownFieldError, match=r"id, num, kind|can't be"):
        where.conditions(declared, [text])
