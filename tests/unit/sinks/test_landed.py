"""Landed ranges, folded."""

import itertools

import hypothesis
from hypothesis import strategies as st

from penstock.core import addresses, delivery
from penstock.sinks import landed

P = addresses.Position


def span(start, end, partition=0):
    return addresses.Range("log", partition, P(start), P(end))


def mark(offset, partition=0):
    return delivery.Watermark(log_id="log", partition=partition, position=P(offset))


def test_neighbours_become_one_range():
    """Catches a journal that grows with every write."""
    assert landed.fold([span(0, 5)], [span(5, 9)], []) == [span(0, 9)]


def test_below_the_watermark_nothing_is_told_apart():
    """Catches gaps of finished events kept for ever, and a watermark applied to another partition."""
    known = [span(0, 2), span(4, 6), span(9, 10), span(3, 4, partition=1)]
    assert landed.fold(known, [], [mark(7)]) == [span(0, 7), span(9, 10), span(3, 4, partition=1)]


def test_a_watermark_at_the_beginning_says_nothing():
    """Catches an empty range, which can't be built."""
    assert landed.fold([], [], [mark(0)]) == []


@hypothesis.settings(max_examples=80)
@hypothesis.given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5), st.integers(0, 2))), st.integers(0, 30))
def test_folding_never_forgets(writes, watermark):
    """Catches a fold that drops a range: its rows would land twice."""
    ranges = [span(start, start + length, partition) for start, length, partition in writes]
    folded = landed.fold(ranges, [], [mark(watermark)])
    assert addresses.subtract(ranges, folded) == []
    assert all(one.lane_key != two.lane_key or one.end < two.start for one, two in itertools.pairwise(folded))


def test_tables_and_lanes_are_told_apart():
    """Catches ranges of one table taken for another's: its rows would never land."""
    known = landed.Landed()
    known.replace("lane", "a", [span(0, 3)])
    assert known.of("lane", "b") == []
    assert known.of("other", "a") == []
    assert list(known.tables()) == [("lane", "a")]
