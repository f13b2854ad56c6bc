"""Ranges against sets of integers."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.core import addresses

LINES = [("log", 0), ("log", 1), ("other", 0)]
# Every position of a little log, in order: position i is the model's integer i.
POSITIONS = [addresses.Position(*place) for place in itertools.product(range(3), range(2), range(2))]

Places = set[tuple[tuple[str, int], int]]


@st.composite
def stretches(draw: st.DrawFn) -> addresses.Range:
    log_id, partition = draw(st.sampled_from(LINES))
    start = draw(st.integers(0, len(POSITIONS) - 2))
    end = draw(st.integers(start + 1, len(POSITIONS) - 1))
    return addresses.Range(log_id, partition, POSITIONS[start], POSITIONS[end])


def places(ranges: list[addresses.Range]) -> Places:
    return {(item.lane_key, at) for item in ranges for at, position in enumerate(POSITIONS) if item.contains(position)}


def is_merged(ranges: list[addresses.Range]) -> bool:
    apart = all(a.lane_key != b.lane_key or a.end < b.start for a, b in itertools.pairwise(ranges))
    return ranges == sorted(ranges) and apart


many = st.lists(stretches(), max_size=6)


def span(start: int, end: int) -> addresses.Range:
    return addresses.Range("log", 0, POSITIONS[start], POSITIONS[end])


@given(many)
@settings(max_examples=200)
@example([span(0, 5), span(1, 2), span(5, 6)])
@example([span(0, 5), span(1, 2), span(4, 6)])
def test_merged_ranges_hold_the_same_places_and_never_touch(ranges: list[addresses.Range]) -> None:
    """Catches < for <= where ranges touch, and a short range that cuts off the longer one around it."""
    assert places(addresses.merge(ranges)) == places(ranges)
    assert is_merged(addresses.merge(ranges))


@given(many, many)
@settings(max_examples=200)
def test_subtract_and_intersect_split_what_is_wanted(wanted: list[addresses.Range], landed: list[addresses.Range]) -> None:
    """Catches a landed row that is sent again and an unlanded one that is not: across partitions, logs and items too."""
    both, rest = addresses.intersect(wanted, landed), addresses.subtract(wanted, landed)
    assert places(both) == places(wanted) & places(landed)
    assert places(rest) == places(wanted) - places(landed)
    assert is_merged(both)
    assert is_merged(rest)


@given(stretches(), stretches())
@settings(max_examples=100)
def test_the_common_part_of_two_ranges_is_in_both(left: addresses.Range, right: addresses.Range) -> None:
    """Catches an empty range built from neighbours, and logs or partitions that are not compared."""
    common = left.intersect(right)
    assert places([common] if common else []) == places([left]) & places([right])
    assert common == right.intersect(left)


@pytest.mark.parametrize(("start", "end"), [(2, 2), (3, 2)], ids=str)
def test_an_empty_range_cannot_be_built(start: int, end: int) -> None:
    """Catches a range of nothing, which would count as landed for ever."""
    with pytest.raises(ValueError, match="an empty range"):
        span(start, end)


def test_the_end_of_a_block_is_the_start_of_the_next() -> None:
    """Catches positions compared by ordinal before offset."""
    block = addresses.Range("log", 0, addresses.Position(4), addresses.Position(5))
    assert block.contains(addresses.Position(4, 10**9, 10**9))
    assert not block.contains(addresses.Position(5))
    assert not block.contains(addresses.Position(3, 10**9))


def test_an_address_reads_from_the_log_down_to_the_item() -> None:
    """Catches a part that is left out: logs, letters and `where` show this text."""
    assert str(addresses.Address("a1", 3, addresses.Position(1182, 41, 7))) == "a1/3/1182/41/7"
