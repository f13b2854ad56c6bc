"""Rows as the bytes of one file."""

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.sinks.files import formats as files_format

AT = datetime.datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=datetime.UTC)
ROWS = pa.table(
    {
        "text": pa.array(['é "\n', None]),
        "number": pa.array([2**60, None]),
        "real": pa.array([0.1, float("nan")]),
        "exact": pa.array([decimal.Decimal("12345678901234.5678"), None], pa.decimal128(18, 4)),
        "at": pa.array([AT, None], pa.timestamp("us", "UTC")),
        "there": pa.array([AT, None], pa.timestamp("ms", "America/New_York")),
        "wall": pa.array([AT.replace(tzinfo=None), None], pa.timestamp("ns")),
        "day": pa.array([AT.date(), None]),
        "raw": pa.array([b"\x00\xff", None]),
        "items": pa.array([[{"sku": "a", "qty": 1}], None]),
    }
)


def test_lines_hold_each_value_in_its_plain_form():
    """Catches times without a zone, decimals as text or rounded, NaN that is no JSON, and rows that share a line."""
    lines = files_format.encode(ROWS, files_format.Format.NDJSON).to_pybytes().split(b"\n")
    assert lines.pop() == b""
    first, second = (json.loads(line, parse_float=decimal.Decimal) for line in lines)
    assert first == {
        "text": 'é "\n',
        "number": 2**60,
        "real": decimal.Decimal("0.1"),
        "exact": decimal.Decimal("12345678901234.5678"),
        "at": "2026-01-01T12:00:00.250000Z",
        "there": "2026-01-01T12:00:00.250Z",
        "wall": "2026-01-01T12:00:00.250000000",
        "day": "2026-01-01",
        "raw": "AP8=",
        "items": [{"sku": "a", "qty": 1}],
    }
    assert second == dict.fromkeys(ROWS.column_names)


def test_lines_are_the_rows_in_order_across_slices():
    """Catches a slice that is left out or written twice."""
    rows = pa.table({"n": list(range(5_000))})
    lines = files_format.encode(rows, files_format.Format.NDJSON).to_pybytes().splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(5_000))


def test_parquet_holds_the_same_table():
    """Catches a column whose type or values change on the way."""
    read = pq.read_table(pa.BufferReader(files_format.encode(ROWS, files_format.Format.PARQUET)))
    assert read.schema.equals(ROWS.schema)
    assert read.drop_columns(["real"]).equals(ROWS.drop_columns(["real"]))


def test_only_columns_that_repeat_get_a_dictionary():
    """Catches dictionaries of random ids, which cost time and make the file larger."""
    rows = pa.table({"id": [f"{n:08x}" for n in range(3_000)], "kind": ["click", "view", "buy"] * 1_000})
    group = pq.read_metadata(pa.BufferReader(files_format.encode(rows, files_format.Format.PARQUET))).row_group(0)
    assert [group.column(index).has_dictionary_page for index in range(2)] == [False, True]
    assert group.column(0).compression == "ZSTD"
