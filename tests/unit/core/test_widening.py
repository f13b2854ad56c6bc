"""Lossless casts of older columns."""

from __future__ import annotations

import datetime
import decimal

import pyarrow as pa
import pytest

from penstock.core import widening

_TIME = datetime.datetime(2026, 1, 31, 12, 0, 0, 250_000, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("values", "have", "wanted", "expected"),
    [
        ([1, None], pa.int32(), pa.int64(), [1, None]),
        ([1, None], pa.int32(), pa.float64(), [1.0, None]),
        ([True, None], pa.bool_(), pa.string(), ["true", None]),
        ([_TIME], pa.timestamp("us", tz="UTC"), pa.string(), ["2026-01-31T12:00:00.250000Z"]),
        ([decimal.Decimal("1.50")], pa.decimal128(9, 2), pa.decimal128(12, 4), [decimal.Decimal("1.5000")]),
        ([None, None], pa.null(), pa.int64(), [None, None]),
    ],
    ids=str,
)
def test_a_widened_column_keeps_its_values(values: list[object], have: object, wanted: object, expected: list[object]) -> None:
    """Catches a text of a time that is not RFC 3339, and NULLs that become values."""
    assert widening.widened(pa.array(values, have), wanted, "a").to_pylist() == expected


@pytest.mark.parametrize("sliced", [False, True])
def test_structs_and_lists_are_widened_inside(sliced: bool) -> None:
    """Catches offsets of a slice taken from its parent, and NULL lists that become empty ones."""
    have = pa.list_(pa.struct([("q", pa.int32()), ("gone", pa.string())]))
    column = pa.array([[{"q": 9, "gone": "x"}], [{"q": 1, "gone": "x"}, None], None, []], have)
    wanted = pa.list_(pa.struct([("q", pa.int64()), ("new", pa.string())]))
    result = widening.widened(column.slice(1) if sliced else column, wanted, "a")
    assert result.to_pylist()[-3:] == [[{"q": 1, "new": None}, None], None, []]
    assert result.type.equals(wanted)


@pytest.mark.parametrize(
    ("have", "wanted"),
    [
        (pa.int64(), pa.int32()),
        (pa.int64(), pa.float64()),
        (pa.string(), pa.int64()),
        (pa.binary(), pa.string()),
        (pa.decimal128(9, 2), pa.decimal128(9, 4)),
    ],
    ids=str,
)
def test_a_cast_that_could_lose_something_is_refused(have: pa.DataType, wanted: pa.DataType) -> None:
    """Catches Int64 to Float64, which looks like widening and drops digits."""
    with pytest.raises(TypeError, match="without loss"):
        widening.widened(pa.array([], have), wanted, "a")
