"""Rows as JSON text."""

import json

import hypothesis
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from penstock.sinks import json_rows

values = st.none() | st.text(st.characters(codec="utf-8"), max_size=8)


@hypothesis.settings(max_examples=100)
@hypothesis.given(st.lists(st.tuples(values, st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=6))
def test_lines_and_array_hold_the_same_objects(rows):
    """Catches a line feed inside a text that ends an object, and a comma where there is nothing to separate."""
    table = pa.table(
        {"a\n": pa.array([row[0] for row in rows], pa.string()), "b": pa.array([row[1] for row in rows], pa.int64())}
    )
    wanted = [{"a\n": text, "b": number} for text, number in rows]
    lines = json_rows.lines(table)
    assert [json.loads(line) for line in lines.splitlines()] == wanted
    assert json.loads(json_rows.array(table)) == wanted
    assert lines.count(b"\n") == len(rows)


def test_an_array_of_many_slices_is_one_array():
    """Catches brackets per slice."""
    table = pa.table({"n": list(range(5_000))})
    assert [row["n"] for row in json.loads(json_rows.array(table))] == list(range(5_000))


@pytest.mark.parametrize("days", [-719_163, 2_932_897], ids=["before year 1", "after 9999"])
@pytest.mark.parametrize("nested", [False, True], ids=["alone", "in lists of structs"])
def test_a_day_beyond_the_calendar_is_refused_and_the_last_ones_are_written(days, nested):
    """Catches a date that no reader takes, written instead of being dead-lettered."""

    def table(*values):
        column = pa.array(values, pa.int32()).cast(pa.date32())
        if nested:
            column = pa.ListArray.from_arrays(list(range(len(values) + 1)), pa.StructArray.from_arrays([column], ["day"]))
        return pa.table({"day": column})

    assert json_rows.lines(table(-719_162, 0, 2_932_896)).count(b"\n") == 3
    with pytest.raises(OverflowError):
        json_rows.lines(table(0, days))
