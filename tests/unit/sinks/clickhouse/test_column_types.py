"""Types: what a new column is, what an existing one takes; what the server does with each pair: the integration test."""

from __future__ import annotations

import pyarrow as pa
import pytest

from penstock.sinks.clickhouse import column_types

_TIME = pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize(
    ("type_", "created"),
    [
        (pa.string(), "Nullable(String)"),
        (pa.binary(), "Nullable(String)"),
        (pa.bool_(), "Nullable(Bool)"),
        (pa.int32(), "Nullable(Int32)"),
        (pa.uint64(), "Nullable(UInt64)"),
        (pa.float64(), "Nullable(Float64)"),
        (pa.decimal128(18, 4), "Nullable(Decimal(18, 4))"),
        (pa.date32(), "Nullable(Date32)"),
        (_TIME, "Nullable(DateTime64(6, 'UTC'))"),
        (pa.list_(pa.int64()), "Array(Nullable(Int64))"),
        (pa.struct([("a`b", pa.string())]), r"Tuple(`a\`b` Nullable(String))"),
        (pa.list_(pa.struct([("a", pa.int8())])), "Array(Tuple(`a` Nullable(Int8)))"),
        (pa.null(), None),
        (pa.list_(pa.null()), None),
        (pa.struct([]), None),
    ],
    ids=str,
)
def test_the_type_of_a_new_column_takes_what_it_was_made_for(type_: pa.DataType, created: str | None) -> None:
    """Catches a table that is made and then refused."""
    assert column_types.created(type_) == created
    if created:
        assert column_types.accepts(column_types.parse(created), type_)


@pytest.mark.parametrize(
    ("column", "type_", "taken"),
    [
        ("LowCardinality(Nullable(String))", pa.string(), True),
        ("String", pa.int64(), True),
        ("Int64", pa.int32(), True),
        ("Int32", pa.int64(), False),
        ("UInt64", pa.int64(), False),
        ("Int64", pa.uint32(), True),
        ("Int32", pa.uint32(), False),
        ("Float64", pa.int32(), True),
        ("Float64", pa.int64(), False),
        ("Float32", pa.float64(), False),
        ("Int64", pa.float64(), False),
        ("Decimal(20, 4)", pa.decimal128(18, 4), True),
        ("Decimal(18, 2)", pa.decimal128(18, 4), False),
        ("Decimal64(4)", pa.decimal128(18, 4), True),
        ("Decimal(38, 0)", pa.int64(), True),
        ("Decimal(10, 0)", pa.int64(), False),
        ("DateTime", _TIME, True),
        ("Nullable(DateTime64(3, 'Europe/Zurich'))", _TIME, True),
        ("Int64", _TIME, False),
        ("UUID", pa.string(), True),
        ("Nullable(UUID)", pa.string(), True),
        ("Array(Nullable(UUID))", pa.list_(pa.string()), False),
        ("Int32", pa.string(), True),
        ("Nullable(Int32)", pa.string(), False),
        ("LowCardinality(Nullable(Date))", pa.string(), False),
        ("Nullable(Enum8('a' = 1, 'b' = 2))", pa.string(), True),
        ("JSON", pa.string(), True),
        ("JSON(max_dynamic_paths=8)", pa.string(), True),
        ("Array(Int64)", pa.list_(pa.int64()), True),
        ("Array(Int32)", pa.list_(pa.int64()), False),
        ("Tuple(b String, a Int64)", pa.struct([("a", pa.int64()), ("b", pa.string())]), True),
        ("Tuple(a Int64)", pa.struct([("a", pa.int64()), ("b", pa.string())]), False),
        ("Tuple(Int64, String)", pa.struct([("a", pa.int64()), ("b", pa.string())]), False),
        ("AggregateFunction(sum, Int64)", pa.int64(), False),
        ("SimpleAggregateFunction(sum, Int64)", pa.int64(), True),
        ("Something(we) never saw((", pa.string(), False),
    ],
    ids=str,
)
def test_what_a_column_takes(column: str, type_: pa.DataType, taken: bool) -> None:
    """Catches values that wrap, are cut off or become NULL on their way in without anybody being told."""
    assert column_types.accepts(column_types.parse(column), type_) is taken


@pytest.mark.parametrize(
    ("column", "taken"),
    [
        ("String", False),
        ("Nullable(String)", True),
        ("LowCardinality(Nullable(String))", True),
        ("LowCardinality(String)", False),
        ("Array(String)", True),
        ("Tuple(a Nullable(Int8))", False),
    ],
)
def test_what_takes_null(column: str, taken: bool) -> None:
    """Catches a NULL that lands as 0."""
    assert column_types.takes_null(column_types.parse(column)) is taken
