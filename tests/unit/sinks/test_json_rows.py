"""Rows as JSON text."""

import json

import hypothesis
import pyarrow as pa
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
