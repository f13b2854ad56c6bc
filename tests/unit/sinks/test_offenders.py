"""The search for the rows a store refuses."""

import hypothesis
import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from penstock.sinks import offenders


def refusing(bad):
    """A store that refuses rows one by one."""

    def attempt(rows):
        found = [row for row in rows.tolist() if row in bad]
        return f"row {found[0]}" if found else None

    return attempt


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.integers(1, 400), st.data())
def test_every_bad_row_is_found_and_no_good_one(rows, data):
    """Catches an off-by-one in the halving, and a neighbour blamed for a bad row."""
    bad = data.draw(st.sets(st.integers(0, rows - 1), min_size=1, max_size=12))
    found = offenders.find(rows, refusing(bad), trials=10_000)
    assert [rejected.row for rejected in found] == sorted(bad)
    assert [rejected.message for rejected in found] == [f"row {row}" for row in sorted(bad)]


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.integers(1, 100_000), st.data())
def test_a_search_finds_at_least_one_row_within_its_budget(rows, data):
    """Catches a breadth-first search: thousands of bad rows would use the budget up and the lane would never get on."""
    bad = set(data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=50)))
    calls = []

    def attempt(tried):
        calls.append(len(tried))
        return "refused" if np.isin(tried, sorted(bad)).any() else None

    found = offenders.find(rows, attempt, trials=60)
    assert found
    assert {rejected.row for rejected in found} <= bad
    assert len(calls) <= 60


@hypothesis.settings(max_examples=60)
@hypothesis.given(st.lists(st.integers(0, 20), min_size=2, max_size=40))
def test_of_rows_that_clash_the_later_one_is_refused(keys):
    """Catches a search that only tries rows by themselves: a key that comes twice would never be found."""

    def attempt(rows):
        values = [keys[row] for row in rows.tolist()]
        return None if len(set(values)) == len(values) else "duplicate key"

    expected = [row for row, key in enumerate(keys) if key in keys[:row]]
    assert [rejected.row for rejected in offenders.find(len(keys), attempt, trials=10_000)] == expected


def test_a_store_that_accepts_every_part_has_no_offenders():
    """Catches the last row blamed when the whole was refused for a reason of the store's own."""
    assert offenders.find(8, lambda rows: None) == []


def test_rows_with_nulls_are_found_without_a_trial():
    """Catches an index within a chunk reported as the row of the write."""
    column = pa.chunked_array([pa.array([1, None]), pa.array([None, 4])])
    rows = pa.table({"a": column, "b": pa.array([None, 1, 1, 1])})
    assert [(r.row, r.message) for r in offenders.nulls(rows, ["a"])] == [
        (1, 'column "a" must not be NULL'),
        (2, 'column "a" must not be NULL'),
    ]
    assert offenders.nulls(rows, []) == []


def test_trials_get_the_rows_in_order():
    """Catches trials in another order than the write's, under which another row of a pair would be refused."""
    seen = []
    offenders.find(64, lambda rows: seen.append(rows) or ("bad" if 41 in rows else None))
    assert all((np.diff(rows) > 0).all() for rows in seen)
