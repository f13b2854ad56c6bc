"""Planned batches are put together again, however the rows come this time."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.batching import making

from penstock.batcher.writing import resuming
from penstock.core import addresses, plans
from penstock.core.batching import chunks

Position = addresses.Position


def _rows(found: list[chunks.Chunk]) -> list[Position]:
    return [place for chunk in found for place in chunk.places(range(chunk.rows.num_rows))]


@given(
    blocks=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=6),
    cuts=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 3)), max_size=6),
    gap=st.booleans(),
)
def test_each_row_comes_back_once_under_the_plan_it_stands_in(
    blocks: list[list[int]], cuts: set[tuple[int, int, int]], gap: bool
) -> None:
    """Catches a row in the wrong batch at a boundary inside a block or an event, and rows between plans that are swallowed."""
    bounds = sorted({Position(0), *(Position(*cut) for cut in cuts)})
    planned = [plans.Plan(start=start, end=end, revision="a") for start, end in itertools.pairwise(bounds)]
    planned = planned[::2] if gap else planned
    ahead = resuming.Resumption(planned)
    portions, behind, everything = [], [], []
    for offset, rows_per_event in enumerate(blocks):
        chunk = making.chunk(offset, rows_per_event)
        everything += _rows([chunk])
        if chunk.rows.num_rows:
            done, rest = ahead.take(chunk)
            portions += done
            behind += [rest] if rest is not None else []
        else:
            portions += ahead.passed(chunk.range.end)
    portions += ahead.passed(Position(10**6))
    assert not ahead
    assert [portion.plan for portion in portions if portion.plan] == planned
    for portion in portions:
        inside = [place for plan in planned for place in _rows(list(portion.chunks)) if plan.start <= place < plan.end]
        assert inside == (_rows(list(portion.chunks)) if portion.plan else [])
        assert all(portion.plan.start <= place < portion.plan.end for place in inside if portion.plan)
    back = [place for portion in portions for place in _rows(list(portion.chunks))] + _rows(behind)
    assert sorted(back) == everything


def test_what_stands_behind_every_plan_begins_behind_the_last_one() -> None:
    """Catches a new batch whose range reaches into an old plan's."""
    ahead = resuming.Resumption([plans.Plan(start=Position(0), end=Position(0, 2), revision="a")])
    portions, rest = ahead.take(making.chunk(0, [1, 1, 1, 1]))
    assert len(portions) == 1
    assert rest is not None
    assert rest.range.start == Position(0, 2)


def test_a_plan_whose_last_blocks_make_no_rows_now_is_complete_when_they_were_read() -> None:
    """Catches rows that wait for ever for an end that no rows reach."""
    ahead = resuming.Resumption([plans.Plan(start=Position(0), end=Position(3), revision="a")])
    assert ahead.take(making.chunk(0, [1, 1]))[0] == []
    assert ahead.rows == 2
    assert [portion.plan for portion in ahead.passed(Position(3))] == [
        plans.Plan(start=Position(0), end=Position(3), revision="a")
    ]
