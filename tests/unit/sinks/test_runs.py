"""Rows that repeat the one before."""

import hypothesis
import pyarrow as pa
from hypothesis import strategies as st

from penstock.sinks import runs

VALUES = st.sampled_from([None, 0, 1, 2])


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(st.lists(st.tuples(VALUES, VALUES, st.integers(1, 9)), max_size=30))
def test_what_is_made_once_a_run_is_what_each_row_has(told):
    """Catches a run that begins a row late, and NULLs taken for one another's equals."""
    rows = [(one, other) for one, other, times in told for _ in range(times)]
    columns = [pa.array([row[place] for row in rows], pa.int64()) for place in (0, 1)]
    found = runs.find(columns)
    if found is not None:
        assert len(found.firsts) <= len(rows) * 0.6
        for place in found.columns:
            assert found.spread(found.once(columns[place])).equals(columns[place])


def test_rows_that_do_not_repeat_make_no_runs():
    """Catches work for nothing on rows that are all different, on one row, on none."""
    assert runs.find([pa.array(range(1_000))]) is None
    assert runs.find([pa.array([1])]) is None
    assert runs.find([pa.array([], pa.int64())]) is None
    assert runs.find([]) is None


def test_zeros_with_and_without_a_sign_are_not_one_value():
    """Their texts differ. Catches floats compared by value."""
    assert runs.find([pa.array([0.0, -0.0] * 50)]) is None


def test_a_column_that_repeats_less_stays_out():
    """Catches one busy column that ends the runs of all the others."""
    found = runs.find([pa.array([number // 10 for number in range(1_000)]), pa.array(range(1_000))])
    assert found is not None
    assert (found.columns, len(found.firsts)) == ({0}, 100)
