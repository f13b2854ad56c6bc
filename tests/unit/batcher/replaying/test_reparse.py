"""Letters of a replay log as a group of events."""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pytest
from tests.integration import lane_run
from tests.unit.cli.test_dlq import letter

from penstock.api import load
from penstock.batcher.reading import prepare
from penstock.batcher.replaying import reparse
from penstock.core import deadletters
from penstock.log import port
from penstock.machine import lanes

FIELDS = [
    {"name": "id", "type": "String", "required": True},
    {"name": "num", "type": "Int64", "path": "$.meta.count"},
    {"name": "at", "type": "Timestamp"},
    {"name": "items", "type": "List", "element": {"type": "Int64"}},
]
TRANSFORM = {
    "explode": {"field": "items", "as": "item"},
    "select": [{"name": "id"}, {"name": "num"}, {"name": "at"}, {"name": "item"}, {"name": "received", "value": "received_at"}],
}
JSON, ARROW = deadletters.OriginalFormat.JSON, deadletters.OriginalFormat.ARROW


@pytest.fixture(scope="module")
def lane():
    described = load.load_one(lane_run.pipeline(schema={"fields": FIELDS}, transform=TRANSFORM))
    settings = dataclasses.replace(lanes.lane_for(described, described.spec.sinks[0]), event_rows=3)
    preparer = prepare.Preparer(settings, "log")
    return preparer, reparse.Reparser(settings, "log", preparer)


def replay(offset: int, original: bytes, *items: int, form=JSON, seen: bool = False) -> reparse.Replay:
    told = letter(offset, original=original, items=items, original_format=form, received_at_microseconds=offset)
    record = port.Record(
        topic="replay.warehouse",
        partition=0,
        offset=offset,
        append_time_microseconds=1,
        value=b"",
        headers={},
        producer="p",
        sequence=offset,
    )
    return reparse.Replay(record=record, letter=told, seen=seen)


def test_letters_of_both_formats_make_their_rows_in_the_order_of_the_log(lane):
    """Catches columns that are read by a document's path, and letters that swap their events, items or times."""
    preparer, reparser = lane
    read = reparser.read(
        0,
        [
            replay(3, b'{"id":"a","num":1,"at":"2026-01-01T00:00:00Z","items":[5,6]}', 1, form=ARROW),
            replay(4, b'{"id":"b","meta":{"count":2},"items":[7,8,9]}', 0),
            replay(5, b'{"id":"gone","items":[1]}', 0, seen=True),
            replay(6, b'{"id":"c","num":3,"at":null,"items":null}', form=ARROW),
            replay(7, b'{"id":"d","meta":{"count":4},"items":[1,2]}'),
        ],
    )
    assert not read.refused
    assert read.group.lengths.tolist() == [1, 1, 1, 2]
    assert [(verdict.offset, verdict.events, verdict.duplicates) for verdict in read.group.blocks] == [
        (3, 1, 0),
        (4, 1, 0),
        (5, 1, 1),
        (6, 1, 0),
        (7, 1, 0),
    ]
    made = preparer.transform(read.group, 0, 4, born=0.0).chunk
    rows = made.rows.set_column(made.rows.column_names.index("received"), "received", made.rows["received"].cast(pa.int64()))
    assert [(row["id"], row["num"], row["item"], row["received"]) for row in rows.to_pylist()] == [
        ("a", 1, 6, 3),
        ("b", 2, 7, 4),
        ("c", 3, None, 6),
        ("d", 4, 1, 7),
        ("d", 4, 2, 7),
    ]
    assert made.row_offsets.tolist() == [3, 4, 6, 7, 7]


def test_what_makes_no_row_has_its_reason_and_costs_no_neighbour(lane):
    """Catches a refusal under another letter's offset, and a neighbour that is refused along."""
    _, reparser = lane
    read = reparser.read(
        0,
        [
            replay(0, b'{"id":1'),
            replay(1, b'{"id":"a","items":[1]}', 0),
            replay(2, b'{"items":[1]}', 0),
            replay(3, b'{"id":"a","items":[1]}', 1),
            replay(4, b'{"id":"a","items":[1,2,3,4]}'),
            replay(5, b'{"id":"a","items":[1,2,3,4]}', 3),
        ],
    )
    assert {failed.place.offset: failed.code for failed in read.refused} == {
        0: "Malformed",
        2: "SchemaMismatch",
        3: "ItemGone",
        4: "TooManyRows",
    }
    assert read.group.events.offsets.tolist() == [1, 5]
    assert [verdict.transformed for verdict in read.group.blocks] == [0, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("seen", [False, True])
def test_a_group_of_which_nothing_is_left_is_still_a_group(lane, seen):
    """Catches a lane that stops at a stretch of refused or repeated letters only."""
    _, reparser = lane
    read = reparser.read(0, [replay(0, b"{", seen=seen)])
    assert (len(read.refused), len(read.group.lengths), len(read.group.blocks)) == (int(not seen), 0, 1)
    assert list(read.group.runs(10, 10)) == []
