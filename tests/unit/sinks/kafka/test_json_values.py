"""The column-wise JSON says what the row-wise one says."""

import json

import hypothesis
import pyarrow as pa
from tests.unit.sinks.kafka import columns

from penstock.sinks import json_rows
from penstock.sinks.kafka import json_values


def texts(rows):
    return json_values.objects(rows.column_names, [column.chunk(0) for column in rows.columns], rows.num_rows).to_pylist()


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(columns.tables())
def test_each_row_is_what_json_rows_makes_of_it(rows):
    """Catches an escape that is missing, a null in a list that is lost, a slice read from its beginning."""
    assert [json.loads(text) for text in texts(rows)] == [json.loads(line) for line in json_rows.lines(rows).splitlines()]


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
