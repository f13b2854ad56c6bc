"""Rows that surely don't fit are named one by one, without a search."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest

from penstock.sinks.clickhouse import column_types, unfit

_TIME = pa.timestamp("us", tz="UTC")


def _moment(year: int) -> datetime.datetime:
    return datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("column", "values", "bad"),
    [
        ("Int64", pa.array([1, None, 3]), [1]),
        ("Nullable(Int64)", pa.array([1, None, 3]), []),
        ("Array(Int64)", pa.array([[1], None]), []),
        ("DateTime", pa.array([_moment(1969), _moment(1970), _moment(2106), _moment(2107), None], _TIME), [0, 3, 4]),
        ("Nullable(DateTime64(6))", pa.array([_moment(1899), _moment(1900), _moment(2299), _moment(2300), None], _TIME), [0, 3]),
        ("DateTime64(9)", pa.array([_moment(2262), _moment(2263)], _TIME), [1]),
        ("DateTime64(6)", pa.array([_moment(2262), _moment(1700)], pa.timestamp("ns", tz="UTC")), [1]),
        ("Date", pa.array([datetime.date(1960, 1, 1), datetime.date(2026, 1, 1)]), [0]),
        ("Nullable(UUID)", pa.array(["0190d4a2-0000-7000-8000-000000000001", "x", None]), [1]),
        ("UUID", pa.array(["x"]), []),
        ("Nullable(FixedString(2))", pa.array(["é", "éé", None]), [1]),
    ],
    ids=str,
)
def test_rows_that_do_not_fit(column: str, values: pa.Array, bad: list[int]) -> None:
    """Catches a time before 1970 that lands as 1970, and text that is no UUID landing as NULL."""
    found = unfit.rows(pa.table({"a": values}), {"a": column_types.parse(column)})
    assert [refused.row for refused in found] == bad
    assert all('"a"' in refused.message for refused in found)


def test_a_row_with_two_faults_is_named_once() -> None:
    """Catches two letters of one row."""
    rows = pa.table({"a": pa.array([None], pa.int64()), "b": pa.array([None], pa.int64())})
    column = column_types.parse("Int64")
    assert len(unfit.rows(rows, {"a": column, "b": column})) == 1
