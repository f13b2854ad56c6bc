"""Runs of JSON records into columns: bulk = one by one, and what a record says beside its value."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import blocks
from penstock.core import schema as schemas
from penstock.core.records import decode, documents, fields, layout

Kind = schemas.FieldType
ITEMS = schemas.Field(name="items", type=Kind.LIST, path="$.in.items", element=schemas.Field(name="item", type=Kind.INT64))
DECLARED = schemas.Schema(fields=(schemas.Field(name="id", type=Kind.STRING), ITEMS))
NAMES = ["id", "items", blocks.ORIGINAL, blocks.RECEIVED_AT, *(field.name for field in fields.FIELDS)]
PLACE = decode.Place(topic="orders", partition=3)
GOOD = st.builds(
    lambda name, items: {"id": name, "in": {"items": items}}, st.text(max_size=5), st.lists(st.integers(0, 9), max_size=3)
)
VALUES = st.one_of(
    st.none(),
    GOOD.map(lambda one: json.dumps(one).encode()),
    GOOD.map(lambda one: json.dumps(one, indent=1).encode()),
    st.lists(st.integers(0, 9), max_size=3).map(lambda one: b" \n"[: len(one)] + json.dumps(one).encode()),
    st.sampled_from([b"", b"{", b"\xff", b"[1,", b"{}{}", b'{"id": 1}', b"null"]),
)


def run(values: list[bytes | None], first: int = 10) -> pa.RecordBatch:
    """Every third offset, as if others had been left out; the second record of three has headers."""
    count = len(values)
    headers: list[Any] = [[("a", b"1"), ("a", b"\xfe"), ("n", None)] if at % 3 == 1 else [] for at in range(count)]
    return layout.run(
        [first + 3 * at for at in range(count)], [1_000 * at for at in range(count)], [b"k"] * count, values, headers
    )


def decoder() -> decode.Decoder:
    return decode.Decoder(documents.Documents(DECLARED, "items"), DECLARED)


@settings(max_examples=60)
@given(st.lists(VALUES, max_size=9))
def test_a_run_is_read_as_its_records_are_one_by_one(values):
    """Catches a neighbour's value, offset or timestamp, and a tombstone or a bad record that shifts those behind it."""
    rows = run(values)
    together = decoder().decode(rows, PLACE, NAMES)
    alone = [decoder().decode(rows.slice(at, 1), PLACE, NAMES) for at in range(len(values))]
    assert together.batch.to_pylist() == [event for one in alone for event in one.batch.to_pylist()]
    assert together.offsets.tolist() == [offset for one in alone for offset in one.offsets.tolist()]
    assert together.timestamps.tolist() == [time for one in alone for time in one.timestamps.tolist()]
    assert together.tombstones == sum(one.tombstones for one in alone) == values.count(None)
    assert [(one.offset, one.value, one.why.reason) for one in together.unread] == [
        (one.offset, one.value, one.why.reason) for part in alone for one in part.unread
    ]
    assert len(values) == together.batch.num_rows + together.tombstones + len(together.unread)


def test_a_record_says_where_it_stood_and_what_it_carried():
    """Catches columns that are swapped, and headers of the record before."""
    first, second = decoder().decode(run([b'{"id": "a"}', b"[4, 5]"]), PLACE, NAMES).batch.to_pylist()
    assert (first["id"], first["items"], first["kafka_offset"], first["kafka_headers"]) == ("a", None, 10, None)
    assert (second["id"], second["items"], second[blocks.ORIGINAL]) == (None, [4, 5], b"[4, 5]")
    assert (second["kafka_key"], second["kafka_topic"], second["kafka_partition"]) == (b"k", "orders", 3)
    assert json.loads(second["kafka_headers"]) == {"a": "�", "n": None}
    assert second["kafka_timestamp"] == second[blocks.RECEIVED_AT]
    assert second["kafka_timestamp"].timestamp() == 1.0


def test_only_what_is_asked_for_is_made_and_events_are_counted_without_any():
    """Catches a transform of literals alone that sees no events."""
    assert decoder().decode(run([b"{}", None, b"{}"]), PLACE, []).batch.num_rows == 2
    assert decoder().decode(run([b"{}"]), PLACE, ["id", "nobody"]).batch.schema.names == ["id"]


@given(st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=5))
def test_headers_are_kept_in_their_order_byte_for_byte(headers):
    """Catches a header that is dropped because its name comes twice."""
    assert layout.unpacked(layout.packed(headers)) == headers
