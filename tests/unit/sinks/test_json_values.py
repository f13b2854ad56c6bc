"""JSON put together column by column says what an encoder makes of each row."""

import json

import hypothesis
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import strategies as st
from tests.unit.sinks.kafka import columns

from penstock.sinks import json_rows, json_values


def texts(rows):
    return json_values.objects(rows.column_names, [column.chunk(0) for column in rows.columns], rows.num_rows).to_pylist()


def plainly(rows):
    """Row by row, as Python objects; moments by Arrow's own format."""
    encoder = msgspec.json.Encoder(decimal_format="number")
    values = [_moments(column.chunk(0)).to_pylist() for column in rows.columns]
    return [encoder.encode(dict(zip(rows.column_names, row, strict=True))) for row in zip(*values, strict=True)]


def _moments(column):
    if not pa.types.is_timestamp(column.type):
        return column
    return pc.strftime(column, format="%Y-%m-%dT%H:%M:%S" + ("Z" if column.type.tz else ""))


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(columns.tables())
def test_each_row_is_what_an_encoder_makes_of_it(rows):
    """Catches an escape that is missing, a null in a list that is lost, a slice read from its beginning."""
    assert [json.loads(text) for text in texts(rows)] == [json.loads(text) for text in plainly(rows)]


def test_lines_are_the_objects_across_slices():
    """Catches a slice whose last object runs into the next one's first."""
    rows = pa.table({"n": list(range(20_000))})
    assert [json.loads(line)["n"] for line in json_rows.lines(rows).splitlines()] == list(range(20_000))


def test_a_float_never_looks_like_a_whole_number():
    """Catches 12.0 written as 12, from which a reader would guess another type."""
    rows = pa.table({"f": pa.array([12.0, -3.0, 0.5, 1e20, None])})
    assert [type(json.loads(text)["f"]) for text in texts(rows)] == [float, float, float, float, type(None)]


def test_each_character_survives_alone_and_between_others():
    """Catches one that needs an escape and gets none."""
    hostile = [chr(number) for number in range(0x100)] + ["\u2028", "\ufeff", "\U0001f600"]
    rows = pa.table({"s": [text for one in hostile for text in (one, f"a{one}b{one}", "")]})
    assert [json.loads(text) for text in texts(rows)] == rows.to_pylist()


def test_numbers_stay_numbers_and_times_are_rfc_3339():
    """Catches a decimal as text, an infinity that no parser takes, a moment without its zone."""
    rows = pa.table(
        {
            "d": pa.array(["0.0000"]).cast(pa.decimal128(18, 4)),
            "f": [float("inf")],
            "t": pa.array([1_700_000_000_123_456], pa.timestamp("us", "UTC")),
            'we"ird': ["\x00\u2028"],
        }
    )
    assert texts(rows) == [
        '{"d":0.0000,"f":null,"t":"2023-11-14T22:13:20.123456Z","we\\"ird":"\\u0000\u2028"}'.encode(),
    ]


def test_a_row_of_nothing_is_an_empty_object():
    """Catches a join without columns."""
    assert json_values.objects([], [], 2).to_pylist() == [b"{}", b"{}"]


def test_doubles_of_few_digits_are_written_as_one_by_one():
    """All of them that are taken apart: Arrow's own text is the shortest there is. Catches a digit too many, or a zero."""
    values = pa.array(np.arange(1_024_000) / 1_000)
    plain = pc.cast(values, pa.string())
    whole = pc.match_substring_regex(plain, r"^[0-9]+$")
    plain = pc.if_else(whole, pc.binary_join_element_wise(plain, ".0", ""), plain)
    made = json_values.objects(["x"], [values], len(values)).cast(pa.string())
    assert made.equals(pc.binary_join_element_wise('{"x":', plain, "}", ""))


NUMBERS = st.one_of(
    st.integers(0, 2_000_000).map(lambda number: number / 1_000),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([-0.0, 0.1 + 0.2, 1_023.999, 1_024.0, 3 * 0.1, 1.7e308, float("nan"), float("inf")]),
)


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(st.lists(NUMBERS, min_size=1, max_size=20), st.integers(-600, 600), st.integers(1, 7))
def test_many_rows_are_written_like_few(numbers, least, times):
    """From some thousands of rows on values are looked up in tables, and what repeats is written once. Catches any difference."""
    count = 5_000
    floats = (numbers * (count // len(numbers) + 1))[:count]
    columns = [
        pa.array([f"é{number // times}" for number in range(count)]),
        pa.array([least + number % 500 for number in range(count)], pa.int32()),
        pa.array(floats),
        pa.array([number // times for number in range(count)]),
    ]
    names = ["a", 'b"', "c", "d"]
    few = [json_values.objects(names, [column.slice(at, 100) for column in columns], 100) for at in range(0, count, 100)]
    assert json_values.objects(names, columns, count).equals(pa.concat_arrays(few))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("edge", ["min", "max"])
def test_whole_numbers_at_the_edges_of_their_types_are_written_right(kind, edge):
    """Catches a table whose places are worked out in a type that is too small."""
    limits = np.iinfo(kind)
    least = limits.min if edge == "min" else limits.max - 200
    values = [least + number % 201 for number in range(5_000)]
    made = json_values.objects(["n"], [pa.array(values, kind)], len(values)).to_pylist()
    assert made == [b'{"n":%d}' % value for value in values]
