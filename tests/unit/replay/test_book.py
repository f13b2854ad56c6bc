"""The topic of letters as a book: what its log leaves out is told once, and costs nothing where there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

import hypothesis
import pytest
from hypothesis import strategies as st
from tests.unit.core.dialects import letters
from tests.unit.replay import topic

from penstock.core import deadletters, markers
from penstock.log import port
from penstock.replay import book

LANE = "shop/orders/warehouse"
LETTER, STRANGER, HOLE = "letter", "stranger", "hole"


class Torn(topic.Topic):
    """Offsets where somebody else's records stand, or nothing."""

    def __init__(self, kinds: Sequence[str], start: int = 0) -> None:
        super().__init__()
        self.kinds, self.asked = kinds, 0
        for number in range(len(kinds)):
            self.put_letter(topic.letter(LANE, number, (0,), deadletters.Category.SINK_REJECTED))
        self.starts[port.DEAD_LETTERS] = start

    async def headers(self, topic: str, partition: int, before: int, *, limit: int) -> Sequence[port.Record]:
        found = await super().headers(topic, partition, before, limit=1 << 30)
        return [one for one in found if topic != port.DEAD_LETTERS or self.kinds[one.offset] == LETTER][:limit]

    async def damaged(self, topic: str, partition: int, start: int, end: int) -> Sequence[port.Damaged]:
        self.asked += 1
        assert self.starts[topic] <= start < end <= len(self.records[topic])
        return [port.Damaged(offset=at, reason="who?") for at in range(start, end) if self.kinds[at] == STRANGER]


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(
    st.lists(st.sampled_from([LETTER, LETTER, STRANGER, HOLE]), max_size=14), st.integers(0, 3), st.sampled_from([1, 2, 5, 1_000])
)
async def test_each_letter_comes_and_each_strangers_record_is_named_once(kinds: list[str], start: int, page: int) -> None:
    """Catches a record that falls between two pages, one that is told twice, a hole that is told as one, and what has expired."""
    start = min(start, len(kinds))
    log = Torn(kinds, start)
    with mock.patch.object(book, "_PAGE_RECORDS", page):
        opened = await book.Book.open(log)
        found = [one.offset async for one in opened.letters()]
    newest_first = range(len(kinds) - 1, start - 1, -1)
    assert found == [at for at in newest_first if kinds[at] == LETTER]
    assert opened.unreadable == [f"partition 0, offset {at}: who?" for at in newest_first if kinds[at] == STRANGER]
    assert list(opened.such_as) == opened.unreadable[: book.MOST_NAMED]
    if set(kinds[start:]) <= {LETTER}:
        assert log.asked == 0


@pytest.mark.parametrize("lane", ["a/b", "a/b/c d", "a/b/../c", "A/b/c", "a/b/" + "c" * 64, "/", "a/b/ü"])
async def test_what_names_no_lane_is_no_letter_and_no_marker(lane: str) -> None:
    """A lane leads to a topic of its own. Catches one whose name the brokers refuse, and with it every command."""
    log = topic.Topic()
    log.put_letter(letters.letter(lane=LANE, id="1", attempt=1))
    log.put_letter(letters.letter(lane=lane, id="2", attempt=1))
    made = markers.Marker(kind=markers.Kind.REPLAYED, id="1", lane=lane, attempt=1, replay_offset=0, at_microseconds=1)
    log.put(port.DEAD_LETTERS, markers.encode(made)[1])
    opened = await book.Book.open(log)
    assert [one.letter.id async for one in opened.letters()] == ["1"]
    assert [one.partition(": lane:")[0] for one in opened.unreadable] == ["partition 0, offset 2", "partition 0, offset 1"]
