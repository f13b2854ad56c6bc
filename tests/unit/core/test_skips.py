"""Stretches that a lane leaves out."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from penstock.core import skips

STRETCHES = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10)).map(lambda one: (one[0], one[0] + one[1])), max_size=8)


@given(STRETCHES, st.integers(0, 40))
def test_merging_changes_no_offset_above_what_has_left_the_log(stretches: list[tuple[int, int]], above: int) -> None:
    """Catches a merge that swallows the readable blocks between two stretches, or forgets one that still matters."""
    merged = skips.merged(stretches, above=above)
    for offset in range(above, 55):
        assert (skips.end_of(merged, offset) is not None) == any(start <= offset < end for start, end in stretches)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(merged))


@given(STRETCHES, st.integers(0, 50))
def test_between_an_offset_and_the_next_stretch_everything_is_read(stretches: list[tuple[int, int]], offset: int) -> None:
    """Catches a rebuild that reads into a damaged stretch."""
    merged = skips.merged(stretches)
    until = skips.next_start(merged, offset)
    if skips.end_of(merged, offset) is None and until is not None:
        assert all(skips.end_of(merged, at) is None for at in range(offset, until))
        assert skips.end_of(merged, until) is not None
