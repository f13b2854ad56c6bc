"""Avro in bulk: the same as another decoder makes of each record alone, and nothing that bytes can do beyond a refusal."""

from __future__ import annotations

import decimal
import io
import json
import struct
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import schema as schemas
from penstock.core.records.avro import columns, nodes, values

Kind = schemas.FieldType
NUMBER = 7


def field(name: str, kind: Kind, **rest: Any) -> schemas.Field:
    return schemas.Field(name=name, type=kind, **rest)


ITEM = field("item", Kind.STRUCT, fields=(field("sku", Kind.STRING), field("qty", Kind.INT32), field("price", Kind.FLOAT64)))
DECLARED = schemas.Schema(
    fields=(
        field("id", Kind.STRING, required=True),
        field("at", Kind.TIMESTAMP),
        field("on", Kind.DATE),
        field("paid", Kind.BOOLEAN),
        field("amount", Kind.DECIMAL, precision=20, scale=4),
        field("raw", Kind.BYTES),
        field("kind", Kind.STRING),
        field("count", Kind.INT64),
        field("items", Kind.LIST, element=ITEM),
        field("missing", Kind.INT32),
    )
)
WRITTEN = {
    "type": "record",
    "name": "order",
    "namespace": "shop",
    "fields": [
        {"name": "unknown", "type": {"type": "map", "values": ["null", "long"]}},
        {"name": "id", "type": "string"},
        {"name": "kind", "type": {"type": "enum", "name": "kind", "symbols": ["A", "B"]}},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
        {"name": "on", "type": ["null", {"type": "int", "logicalType": "date"}]},
        {"name": "paid", "type": "boolean"},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}},
        {"name": "raw", "type": [{"type": "fixed", "name": "four", "size": 4}, "null", "bytes"]},
        {"name": "count", "type": ["long", "int", "null"]},
        {
            "name": "items",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "item",
                    "fields": [
                        {"name": "sku", "type": ["null", "string"]},
                        {"name": "price", "type": "float"},
                        {"name": "qty", "type": "int"},
                    ],
                },
            },
        },
        {"name": "left", "type": ["null", "order"], "default": None},
    ],
}
PARSED = fastavro.parse_schema(json.loads(json.dumps(WRITTEN)))
ITEMS = st.fixed_dictionaries(
    {
        "sku": st.none() | st.text(max_size=4),
        "qty": st.integers(-(2**31), 2**31 - 1),
        "price": st.floats(width=32, allow_nan=False),
    }
)
ORDERS = st.fixed_dictionaries(
    {
        "unknown": st.dictionaries(st.text(max_size=3), st.none() | st.integers(-(2**63), 2**63 - 1), max_size=3),
        "id": st.text(max_size=30),
        "kind": st.sampled_from("AB"),
        "at": st.none() | st.integers(0, 4_000_000_000_000),
        "on": st.none() | st.integers(0, 30_000),
        "paid": st.booleans(),
        "amount": st.decimals(-(10**15), 10**15, places=2),
        "raw": st.none() | st.binary(min_size=4, max_size=4),
        "count": st.none() | st.integers(-(2**63), 2**63 - 1),
        "items": st.lists(ITEMS, max_size=5),
    }
)


def framed(order: dict[str, Any], number: int = NUMBER) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED, order)
    return struct.pack(">bI", 0, number) + out.getvalue()


def reader(declared: schemas.Schema = DECLARED) -> columns.Records:
    return columns.Records(declared, {NUMBER: nodes.parsed(json.dumps(WRITTEN))})


def expected(record: bytes) -> dict[str, Any]:
    """As another decoder has it, in the declared columns."""
    found = fastavro.schemaless_reader(io.BytesIO(record[5:]), PARSED, None)
    told = {name: found[name] for name in ("id", "at", "on", "paid", "raw", "kind", "count")}
    items = [{"sku": one["sku"], "qty": one["qty"], "price": one["price"]} for one in found["items"]]
    return told | {"amount": found["amount"].quantize(decimal.Decimal("0.0001")), "items": items, "missing": None}


@given(st.lists(ORDERS, max_size=8))
def test_in_bulk_each_record_is_what_another_decoder_makes_of_it(orders):
    """Catches values of a neighbour, a branch that is not scattered back, items in another order, a place that slips."""
    records = [framed(order) for order in orders]
    parsed = reader().read(pa.array(records, pa.binary()))
    assert parsed.rejected == ()
    assert parsed.batch.select(DECLARED_NAMES).to_pylist() == [expected(record) for record in records]


DECLARED_NAMES = [one.name for one in DECLARED.fields]


@given(st.lists(st.one_of(ORDERS.map(framed), st.binary(max_size=40).map(lambda raw: b"\x00\x00\x00\x00\x07" + raw)), max_size=8))
def test_a_record_is_read_or_refused_alike_alone_and_among_others(records):
    """Bulk = one by one, whatever stands between. Catches a broken record that moves or spoils its neighbours."""
    together = reader().read(pa.array(records, pa.binary()))
    rows = dict(zip(together.accepted.tolist(), together.batch.to_pylist(), strict=True))
    refused = {why.index: why for why in together.rejected}
    assert sorted([*rows, *refused]) == list(range(len(records)))
    for at, record in enumerate(records):
        alone = reader().read(pa.array([record], pa.binary()))
        assert repr(alone.batch.to_pylist()) == repr([rows[at]] if at in rows else [])
        assert [why.reason for why in alone.rejected] == ([refused[at].reason] if at in refused else [])


@given(ORDERS, st.data())
def test_a_record_that_is_cut_anywhere_is_refused(order, data):
    """Catches a place that leaves its record, and bytes of the next one taken for its own."""
    record = framed(order)
    cut = record[: data.draw(st.integers(0, len(record) - 1))]
    parsed = reader().read(pa.array([cut, record], pa.binary()))
    assert [why.index for why in parsed.rejected] == [0]
    assert parsed.batch.num_rows == 1


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\x00\x00\x00\x07", b"\x01\x00\x00\x00\x07x", b'{"id": 1}'])
def test_what_has_no_frame_is_refused_with_the_way_out(raw):
    """Catches JSON that is taken for a schema's number."""
    (why,) = reader().read(pa.array([raw], pa.binary())).rejected
    assert (why.code.value, "schema's number" in why.reason) == ("Malformed", True)


def test_a_declared_type_that_the_writer_does_not_have_is_told_with_both():
    """Catches a coercion that loses, and a refusal nobody can act on."""
    declared = schemas.Schema(fields=(field("count", Kind.INT32), field("id", Kind.STRING)))
    wide = {"type": "record", "name": "r", "fields": [{"name": "id", "type": "string"}, {"name": "count", "type": "long"}]}
    records = columns.Records(declared, {1: nodes.parsed(json.dumps(wide))})
    (why,) = records.read(pa.array([b"\x00\x00\x00\x00\x01\x02a\x02"], pa.binary())).rejected
    assert (why.field, why.reason) == ("count", "schema 1 has long where Int32 is declared")


def test_an_array_that_claims_more_items_than_bytes_ends_at_once():
    """Catches a loop that a record of twenty bytes keeps busy for ever."""
    declared = schemas.Schema(fields=(field("a", Kind.STRING),))
    hollow = {"type": "record", "name": "r", "fields": [{"name": "n", "type": {"type": "array", "items": "null"}}]}
    records = columns.Records(declared, {1: nodes.parsed(json.dumps(hollow))})
    (why,) = records.read(pa.array([b"\x00\x00\x00\x00\x01" + b"\xfe" * 8 + b"\x7f\x00"], pa.binary())).rejected
    assert "more items" in why.reason


def test_without_a_schema_the_whole_record_is_json():
    """Catches an event column that is empty for records in Avro."""
    whole = schemas.Schema(fields=(field("event", Kind.JSON), field("received_at", Kind.TIMESTAMP)), whole_event=True)
    order = {"unknown": {"a": 1}, "id": "x", "kind": "A", "at": 0, "on": 1, "paid": True, "amount": decimal.Decimal("1.50")}
    order |= {"raw": b"abcd", "count": 3, "items": []}
    (event,) = reader(whole).read(pa.array([framed(order)], pa.binary())).batch.column("event").to_pylist()
    told = json.loads(event)
    assert (told["at"], told["on"], told["amount"], told["unknown"]) == ("1970-01-01T00:00:00Z", "1970-01-02", "1.50", {"a": 1})


@pytest.mark.parametrize(
    "text", ["", "[", '"nothing"', '{"type": "fixed", "name": "f"}', '{"type": "record"}', "[" * 200 + "]" * 200]
)
def test_a_text_that_is_no_schema_is_refused(text):
    """Catches a registry's answer that ends the lane."""
    try:
        node = nodes.parsed(text)
    except nodes.SchemaError:
        return
    assert node.kind == "record"
    assert not node.members
    assert values.value(node, b"") == {}
