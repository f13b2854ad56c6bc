"""Cutting and trimming rows together with their ranges."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.batching import making

from penstock.core import addresses

events = st.lists(st.integers(0, 5), min_size=1, max_size=20).filter(any)


@given(events, st.integers(1, 60))
def test_a_cut_loses_no_row_and_never_splits_an_event(rows_per_event, rows):
    """Catches a cut inside an event: its two halves would share one address and the second would be trimmed as landed."""
    whole = making.chunk(7, rows_per_event)
    head, rest = whole.cut(rows)
    parts = [head] if rest is None else [head, rest]
    assert [value for part in parts for value in part.rows["value"].to_pylist()] == whole.rows["value"].to_pylist()
    assert parts[0].range.start == whole.range.start
    assert parts[-1].range.end == whole.range.end
    if rest is not None:
        assert head.range.end == rest.range.start
        assert not set(head.row_events.tolist()) & set(rest.row_events.tolist())
        assert rest.rows.num_rows


@given(events, st.integers(1, 60))
def test_a_cut_takes_no_more_rows_than_asked_unless_one_event_alone_has_more(rows_per_event, rows):
    """Catches a cap that is not held."""
    head, _ = making.chunk(7, rows_per_event).cut(rows)
    assert head.rows.num_rows <= rows or len(set(head.row_events.tolist())) == 1


@given(events, st.integers(0, 20), st.integers(0, 20))
def test_rows_are_inside_or_outside_a_landed_range_by_their_event(rows_per_event, start, end):
    """Catches trimming by row index: what has landed is known by address only."""
    whole = making.chunk(7, rows_per_event)
    if start >= end:
        return
    landed = [addresses.Range("log", 0, addresses.Position(7, start), addresses.Position(7, end))]
    inside, outside = whole.inside(landed), whole.outside(landed)
    assert all(start <= event < end for event in inside.row_events)
    assert not any(start <= event < end for event in outside.row_events)
    assert inside.rows.num_rows + outside.rows.num_rows == whole.rows.num_rows


def test_another_log_or_partition_trims_nothing():
    """Catches ranges compared without the log id: a recreated log starts at offset 0 again."""
    whole = making.chunk(7, [1, 1])
    stretch = (addresses.Position(0), addresses.Position(100))
    assert whole.outside([addresses.Range("other", 0, *stretch), addresses.Range("log", 1, *stretch)]).rows.num_rows == 2


def test_rows_are_counted_by_block_and_found_by_address():
    whole = making.chunk(7, [2, 0, 1])
    assert whole.rows_by_block() == {7: 3}
    assert whole.places([1, 2]) == [addresses.Position(7, 0, 1), addresses.Position(7, 2, 0)]
    assert whole.at({addresses.Position(7, 2, 0)}).tolist() == [False, False, True]
    assert whole.where(np.array([True, False, True])).range == whole.range
