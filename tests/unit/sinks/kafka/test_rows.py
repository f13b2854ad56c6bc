"""What a record has beside its value."""

import datetime

import pyarrow as pa
import pytest

from penstock.core import delivery
from penstock.sinks import port
from penstock.sinks.kafka import octets, rows

PLACES = {
    delivery.LOG_COLUMN: pa.array(["log", "log"]),
    delivery.PARTITION_COLUMN: pa.array([3, 3], pa.int32()),
    delivery.OFFSET_COLUMN: pa.array([70, 71], pa.int64()),
    delivery.ORDINAL_COLUMN: pa.array([5, 0], pa.int32()),
    delivery.ITEM_COLUMN: pa.array([0, 9], pa.int32()),
}


def texts(header):
    """A header's value of each row."""
    return octets.joined(*header.values).to_pylist()


def records(headers=(), **columns):
    told = pa.table(columns | PLACES)
    return rows.Layout(headers=headers).records(told, [pa.array([b"v", b"w"], pa.large_binary())])


def test_each_record_carries_its_rows_address():
    """Catches an id that repeats, or that a re-send under another batch would change."""
    made = records()
    assert made.headers[0].name == "penstock-event-id"
    assert texts(made.headers[0]) == [b"log/3/70/5/0", b"log/3/71/0/9"]
    assert made.keys.to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([b"\xff\x00", None]), [b"\xff\x00", None]),
        (pa.array(["\u00e9", ""]), ["\u00e9".encode(), b""]),
        (pa.array([7, -1]), [b"7", b"-1"]),
        (pa.array([True, False]), [b"true", b"false"]),
        (pa.array([datetime.date(2026, 1, 31), None]), [b"2026-01-31", None]),
    ],
    ids=["bytes", "text", "number", "truth", "date"],
)
def test_keys_and_headers_are_bytes_as_they_are_and_all_else_as_text(column, expected):
    """Catches a number in some machine's own form, and a null that becomes an empty key."""
    made = records(["h"], **{delivery.KEY_COLUMN: column, delivery.header_column(0): column})
    assert made.keys.to_pylist() == expected
    assert (made.headers[1].name, texts(made.headers[1])) == ("h", expected)


def test_a_key_of_many_values_and_a_write_without_addresses_are_misconfigurations():
    """Catches a crash in the middle of a batch, and records that nobody can tell apart."""
    layout = rows.Layout(headers=())
    with pytest.raises(port.SinkError, match="a key or header can't be"):
        layout.check(pa.schema([("a", pa.int64()), (delivery.KEY_COLUMN, pa.list_(pa.int64()))]))
    with pytest.raises(port.SinkError, match="without their addresses"):
        layout.records(pa.table({"a": [1]}), [b"v"])
    with pytest.raises(port.SinkError, match="no column"):
        layout.check(pa.schema([(delivery.KEY_COLUMN, pa.int64())]))


def test_addresses_that_share_a_part_are_written_like_any_other():
    """Catches a part that is written once and is not the same in all rows, and a write of no rows."""
    told = pa.table(
        PLACES | {delivery.LOG_COLUMN: pa.array(["a", "b"]), delivery.PARTITION_COLUMN: pa.array([3, 10], pa.int32())}
    )
    layout, values = rows.Layout(headers=()), [b"v"]
    assert texts(layout.records(told, values).headers[0]) == [b"a/3/70/5/0", b"b/10/71/0/9"]
    assert texts(layout.records(told.slice(1), values).headers[0]) == [b"b/10/71/0/9"]
    assert texts(layout.records(told.slice(2), values).headers[0]) == []


def test_rows_of_one_event_share_what_is_written_once():
    """Catches a run that takes in the row behind it, and one address for rows of two events."""
    offsets, items = [7] * 5 + [8] * 4 + [9], [*range(5), *range(4), 0]
    told = pa.table(
        {
            delivery.LOG_COLUMN: pa.array(["log"] * 10),
            delivery.PARTITION_COLUMN: pa.array([3] * 10, pa.int32()),
            delivery.OFFSET_COLUMN: pa.array(offsets, pa.int64()),
            delivery.ORDINAL_COLUMN: pa.array([0] * 10, pa.int32()),
            delivery.ITEM_COLUMN: pa.array(items, pa.int32()),
        }
    )
    made = rows.Layout(headers=()).records(told, [b"v"])
    expected = [f"log/3/{offset}/0/{item}".encode() for offset, item in zip(offsets, items, strict=True)]
    assert texts(made.headers[0]) == expected
