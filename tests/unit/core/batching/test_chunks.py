"""Cutting and trimming rows together with their ranges."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.batching import making

from penstock.core import addresses, delivery

events = st.lists(st.integers(0, 5), min_size=1, max_size=20).filter(any)


@given(events, st.integers(1, 60))
def test_a_cut_loses_no_row_and_its_parts_tile_the_range(rows_per_event, rows):
    """Catches rows lost or doubled at a cut, and ranges that overlap or leave a hole."""
    whole = making.chunk(7, rows_per_event)
    head, rest = whole.cut(rows)
    parts = [head] if rest is None else [head, rest]
    assert [value for part in parts for value in part.rows["value"].to_pylist()] == whole.rows["value"].to_pylist()
    assert parts[0].range.start == whole.range.start
    assert parts[-1].range.end == whole.range.end
    assert rest is None or head.range.end == rest.range.start
    assert head.rows.num_rows <= rows
    assert sum(part.bytes for part in parts) == whole.bytes


@given(events, st.integers(1, 60))
def test_only_an_event_with_more_rows_than_asked_is_split(rows_per_event, rows):
    """Catches a cut inside an event that would have fitted: its rows would land in two writes for nothing."""
    head, rest = making.chunk(7, rows_per_event).cut(rows)
    if rest is not None and set(head.row_events.tolist()) & set(rest.row_events.tolist()):
        assert rows_per_event[int(rest.row_events[0])] > rows
        assert len(set(head.row_events.tolist())) == 1


@given(events, st.data())
def test_each_part_of_a_split_knows_its_own_rows_by_address(rows_per_event, data):
    """Catches trimming that takes the whole event when half of it has landed, or none of it."""
    whole = making.chunk(7, rows_per_event)
    if whole.rows.num_rows < 2:
        return
    head, rest = whole.split(data.draw(st.integers(1, whole.rows.num_rows - 1)))
    for mine, other in ((head, rest), (rest, head)):
        assert whole.inside([mine.range]).rows.equals(mine.rows)
        assert mine.outside([mine.range]).rows.num_rows == 0
        assert other.inside([mine.range]).rows.num_rows == 0


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


def test_parts_share_the_bytes_of_the_whole():
    """Catches bytes that are counted twice after a cut, or lost: the memory bound would drift."""
    whole = making.chunk(7, [2, 3, 1])
    head, rest = whole.cut(5)
    assert rest is not None
    assert head.bytes + rest.bytes == whole.bytes
    assert head.bytes > rest.bytes > 0


@given(events)
def test_a_rows_address_goes_with_it_as_columns(rows_per_event):
    """Catches an address that belongs to another row, and one that changes when the chunk is cut."""
    whole = making.chunk(7, rows_per_event, partition=3)
    found = whole.row_addresses()
    assert found.column_names == list(delivery.ADDRESS_COLUMNS)
    places = [(place.offset, place.ordinal, place.item) for place in whole.places(range(whole.rows.num_rows))]
    assert list(zip(*(column.to_pylist() for column in found.columns), strict=True)) == [("log", 3, *place) for place in places]
    head, rest = whole.cut(1)
    parts = [head, *([rest] if rest else [])]
    assert [row for part in parts for row in part.row_addresses().to_pylist()] == found.to_pylist()
