"""Which of Penstock's types fit which of Postgres', and what a new column gets."""

import pyarrow as pa
import pytest

from penstock.sinks.postgres import column_types

INTS = {"int2": "smallint", "int4": "integer", "int8": "bigint"}


def type_(name, **told):
    return column_types.Type(name=name, full=INTS.get(name, name), bare=name, **told)


def form(arrow, name, **told):
    """The form in which an Arrow type goes into the type, "cast" for text that is cast, None where it does not fit."""
    found = column_types.way(pa.field("v", arrow), type_(name, **told))
    if found is None:
        return None
    return "cast" if found.cast else found.form.value


@pytest.mark.parametrize(
    ("arrow", "fits", "refused"),
    [
        (pa.int32(), ["int4", "int8", "numeric", "float8", "text"], ["int2", "float4", "bool", "date", "jsonb"]),
        (pa.int64(), ["int8", "numeric", "varchar"], ["int4", "float8", "timestamptz"]),
        (pa.uint32(), ["int8", "float8"], ["int4"]),
        (pa.uint64(), ["numeric"], ["int8"]),
        (pa.float64(), ["float8"], ["float4", "numeric", "int8", "text"]),
        (pa.float32(), ["float4", "float8"], ["numeric"]),
        (pa.decimal128(9, 2), ["numeric", "text"], ["float8", "int8"]),
        (pa.bool_(), ["bool", "text"], ["int4"]),
        (
            pa.string(),
            ["text", "varchar", "bpchar", "json", "jsonb", "uuid", "inet", "mood", "xml"],
            ["int8", "bytea", "date", "bool"],
        ),
        (pa.date32(), ["date"], ["timestamptz", "text"]),
        (pa.timestamp("us", "UTC"), ["timestamptz"], ["timestamp", "date"]),
        (pa.timestamp("us"), ["timestamp"], ["timestamptz"]),
        (pa.timestamp("ns", "UTC"), [], ["timestamptz"]),
        (pa.timestamp("ms", "UTC"), ["timestamptz"], []),
        (pa.binary(), ["bytea"], ["text", "uuid"]),
        (pa.struct([("a", pa.int8())]), ["json", "jsonb"], ["text"]),
        (pa.list_(pa.int64()), ["jsonb"], ["int8", "text"]),
        (pa.null(), [], ["text", "int8"]),
    ],
    ids=str,
)
def test_what_changes_no_value_fits_and_nothing_else(arrow, fits, refused):
    """Catches a narrowing, a rounding or a shift of hours that the server would do in silence."""
    assert {name: form(arrow, name) is not None for name in [*fits, *refused]} == {
        **dict.fromkeys(fits, True),
        **dict.fromkeys(refused, False),
    }


@pytest.mark.parametrize(
    ("arrow", "told", "expected"),
    [
        (pa.decimal128(9, 2), {"scale": 2}, "numeric"),
        (pa.decimal128(9, 3), {"scale": 2}, None),
        (pa.decimal128(38, 2), {"scale": 2}, "cast"),
        (pa.decimal128(18, 17), {}, "cast"),
        (pa.int64(), {"scale": -2}, None),
    ],
    ids=str,
)
def test_no_digit_after_the_point_is_rounded_away(arrow, told, expected):
    """Catches numeric(p, s) that takes what it rounds; too large a number is the server's to refuse."""
    assert form(arrow, "numeric", **told) == expected


@pytest.mark.parametrize(
    ("arrow", "element", "expected"),
    [
        (pa.list_(pa.int32()), "int8", "array"),
        (pa.list_(pa.int64()), "int4", None),
        (pa.list_(pa.string()), "text", "array"),
        (pa.list_(pa.string()), "mood", None),
        (pa.list_(pa.list_(pa.int64())), "int8", None),
        (pa.string(), "mood", "cast"),
        (pa.int64(), "int8", None),
    ],
    ids=str,
)
def test_lists_fit_arrays_of_what_their_elements_fit(arrow, element, expected):
    """Catches an element type that is not looked at."""
    assert form(arrow, f"_{element}", element=element) == expected


@pytest.mark.parametrize(
    ("arrow", "expected"),
    [
        (pa.list_(pa.list_(pa.int64())), "jsonb"),
        (pa.list_(pa.string()), "text[]"),
        (pa.uint64(), "numeric(20,0)"),
        (pa.large_string(), "text"),
    ],
    ids=str,
)
def test_a_new_column_has_a_type_that_takes_everything(arrow, expected):
    """Catches a default that `way` would refuse."""
    assert column_types.default(pa.field("v", arrow)) == expected


def test_what_postgres_does_not_have_is_said():
    """Catches a column that is made as text by mistake."""
    with pytest.raises(ValueError, match="Postgres has no type for null"):
        column_types.default(pa.field("v", pa.null()))
