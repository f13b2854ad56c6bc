"""The book of plans: what is written is read again, it fits, and no two plans stand in each other's way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import addresses, ledger, plans

Position = addresses.Position

_places = st.builds(Position, st.integers(0, 10**12), st.integers(0, 10**6), st.integers(0, 10**6))


@st.composite
def _planned(draw: st.DrawFn) -> list[plans.Plan]:
    bounds = sorted(draw(st.sets(_places, min_size=2, max_size=20)))
    found = []
    for start, end in zip(bounds[::2], bounds[1::2], strict=False):
        settled = draw(st.booleans())
        at = tuple(sorted(draw(st.sets(st.integers(0, 10**6), max_size=3))))
        cut = plans.Cut(settled=draw(st.none() | st.just(start)), at=tuple(Position(start.offset + one) for one in at))
        cuts = {} if settled else draw(st.dictionaries(st.integers(0, 9), st.just(cut), max_size=2))
        found.append(plans.Plan(start=start, end=end, revision=draw(st.sampled_from("ab")), settled=settled, cuts=cuts))
    return found


@given(_planned())
def test_what_is_written_is_read_again(planned: list[plans.Plan]) -> None:
    """Catches a position that loses its ordinal, and a revision taken from the wrong neighbour."""
    text = plans.Book(";".join(plans._written(planned))).text()
    assert list(plans.Book(text).plans) == planned


@pytest.mark.parametrize("text", ["x", "1-0", "1-2;", "1-2.a", "1-2/x:3", "1-2!!"])
def test_what_nobody_wrote_is_refused(text: str) -> None:
    """Catches a plan that is guessed: its rows would go under a token of nothing."""
    with pytest.raises(plans.PlansError):
        plans.Book(text)


def test_a_full_book_takes_no_more_and_fits_with_its_cuts_into_the_metadata() -> None:
    """Catches a text that outgrows the offset's metadata, on which nothing could be committed any more."""
    book, offset = plans.Book(), 10**15
    while book.has_room:
        book.begin(Position(offset, 999_999), Position(offset + 1, 999_998), "0123abcd")
        offset += 1
    first = book.plans[0]
    twenty = tuple(Position(first.start.offset, 999_999, 10**6 + at) for at in range(20))
    book.cut(first.start, 0, plans.Cut(settled=first.start, at=twenty))
    assert len(book.plans) > 50
    assert len(ledger.to_metadata(ledger.LaneMetadata(plans=book.text()))) <= ledger.MAX_METADATA_BYTES


def test_nothing_begins_too_far_ahead_of_a_batch_without_an_outcome() -> None:
    """Catches a batch in doubt whose token the store has forgotten by the time it is sent again."""
    book = plans.Book()
    for at in range(plans.MOST_AHEAD):
        assert book.has_room
        book.begin(Position(at), Position(at + 1), "a")
        if at:
            book.settle(Position(at))
    assert not book.has_room
    book.settle(Position(0))
    assert book.has_room


def test_settled_neighbours_become_one_but_not_across_a_gap() -> None:
    """Catches rows that come to stand in a gap by an edit, and would be counted as landed."""
    book = plans.Book()
    for start, end in ((0, 1), (1, 2), (3, 4)):
        book.begin(Position(start), Position(end), "a")
        book.settle(Position(start))
    assert [(plan.start.offset, plan.end.offset) for plan in book.plans] == [(0, 2), (3, 4)]


def test_plans_never_overlap() -> None:
    """Catches a row with two tokens."""
    book = plans.Book("5-5@a")
    with pytest.raises(ValueError, match="planned already"):
        book.begin(Position(9), Position(11), "a")


def test_an_edit_gives_up_what_is_not_settled() -> None:
    """Catches rows of one revision under the token of another, and landed rows that are sent again."""
    book = plans.Book("0-1@a!;1-1;2-1@b")
    assert [plan.start.offset for plan in book.keep("b")] == [1]
    assert [(plan.start.offset, plan.settled) for plan in book.plans] == [(0, True), (3, False)]


def test_what_the_offset_has_passed_is_forgotten() -> None:
    """Catches a book that only grows, and a plan forgotten while a part of its block is open."""
    book = plans.Book("0-1@a!;1-0.5!")
    book.forget(Position(1))
    assert book.text() == "1-0.5@a!"
    book.forget(Position(2))
    assert book.text() == ""


def test_the_pieces_of_a_cut_plan_cover_it_in_order() -> None:
    """Catches a piece left out, and one that is landed although it is settled."""
    cut = plans.Cut(settled=Position(2), at=(Position(1), Position(5), Position(7)))
    plan = plans.Plan(start=Position(0), end=Position(9), revision="a", cuts={1: cut})
    found = [(start.offset, end.offset, settled) for start, end, settled in plan.pieces(1)]
    assert found == [(0, 2, True), (2, 5, False), (5, 7, False), (7, 9, False)]
    assert [(start.offset, end.offset, settled) for start, end, settled in plan.pieces(0)] == [(0, 9, False)]
