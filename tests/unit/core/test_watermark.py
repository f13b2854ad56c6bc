"""The watermark against a list of blocks with a flag each."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.core import watermark


@pytest.mark.parametrize(("finished", "committed"), [([], 0), ([0], 1), ([1], 0), ([0, 2], 1), ([2, 1, 0], 3)], ids=str)
def test_offsets_commit_only_below_the_lowest_unfinished_block(finished: list[int], committed: int) -> None:
    """Catches a watermark that takes the highest finished offset."""
    mark = watermark.Watermark(0)
    for offset in range(3):
        mark.started(offset)
    for offset in finished:
        mark.finished(offset)
    assert mark.position == committed


def test_a_gap_between_offsets_is_passed_with_the_block_before_it() -> None:
    """Catches counting blocks instead of reading their offsets: compaction and markers leave gaps."""
    mark = watermark.Watermark(3)
    for offset in (5, 9):
        mark.started(offset)
    assert mark.position == 5
    mark.finished(5)
    assert mark.position == 9
    mark.finished(9)
    assert mark.position == 10
    assert mark.advance() == [5, 9]


class Machine(RuleBasedStateMachine):
    """Blocks start in order with gaps, finish in any order, and are counted when they are passed."""

    def __init__(self) -> None:
        super().__init__()
        self.mark = watermark.Watermark(100)
        self.blocks: dict[int, bool] = {}
        self.next = 100
        self.counted: list[int] = []

    @rule(gap=st.integers(0, 3))
    def start(self, gap: int) -> None:
        self.mark.started(self.next + gap)
        self.blocks[self.next + gap] = False
        self.next += gap + 1

    @precondition(lambda self: not all(self.blocks.values()))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from([offset for offset, done in self.blocks.items() if not done]))
        self.mark.finished(offset)
        self.blocks[offset] = True

    @rule()
    def advance(self) -> None:
        self.counted += self.mark.advance()
        assert self.counted == [offset for offset in self.blocks if offset < self.mark.position]

    @rule(offset=st.integers(90, 130))
    def misuse(self, offset: int) -> None:
        if offset < self.next:
            with pytest.raises(ValueError, match="blocks start in offset order"):
                self.mark.started(offset)
        if self.blocks.get(offset, True):
            with pytest.raises(ValueError, match="not in flight"):
                self.mark.finished(offset)

    @invariant()
    def nothing_unfinished_lies_below_the_position(self) -> None:
        waiting = [offset for offset, done in self.blocks.items() if not done]
        assert self.mark.position == min(waiting, default=self.next)
        assert self.mark.unfinished == len(waiting)


TestWatermark = Machine.TestCase
TestWatermark.__doc__ = "Catches a block that is passed twice or never, and a commit ahead of an unfinished block."
TestWatermark.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
