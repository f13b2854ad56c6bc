"""JSON put together column by column says what an encoder makes of each row."""

import json

import hypothesis
import msgspec
import pyarrow as pa
import pyarrow.compute as pc
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
