"""What a sender owes an answer for."""

from __future__ import annotations

import itertools

import pytest

from penstock.cli.sending import cursor, outbox


def filled(count: int) -> tuple[outbox.Outbox, list[outbox.Request]]:
    """An outbox with this many requests of two events, all under way."""
    box = outbox.Outbox(cursor.Cursor(), limit=count)
    for _ in range(count):
        box.add([b"a", b"b"])
    requests = list(iter(box.next_unsent, None))
    for request in requests:
        request.sent_at = float(request.sequence)
    return box, requests


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_the_cursor_stands_before_the_first_unanswered_request(order: tuple[int, ...]) -> None:
    """Catches a cursor that follows the number, or the highest, of the answers."""
    box, requests = filled(3)
    for done, index in enumerate(order, start=1):
        box.answer(requests[index], accepted=1, rejected=1)
        leading = next((place for place in range(3) if place not in order[:done]), 3)
        assert (box.cursor.events, box.cursor.accepted, box.cursor.rejected) == (2 * leading, leading, leading)
    assert box.empty


def test_a_broken_connection_sends_what_is_unanswered_again_in_order() -> None:
    """Catches an answered request that is sent again, and one that is not."""
    box, requests = filled(4)
    box.answer(requests[1], accepted=2, rejected=0)
    box.send_all_again()
    assert [request.sequence for request in iter(box.next_unsent, None)] == [0, 2, 3]
    assert box.waiting_since is None


def test_an_answer_is_taken_once() -> None:
    """Catches a late second answer that would be counted again."""
    box, requests = filled(2)
    box.answer(requests[1], accepted=2, rejected=0)
    assert box.find(1) is None
    assert box.find(0) is requests[0]


def test_a_refused_request_goes_before_what_is_new() -> None:
    """Catches a request that starves."""
    box, requests = filled(2)
    box.add([b"new"])
    box.send_again(requests[0])
    assert [request.sequence for request in iter(box.next_unsent, None)] == [0, 2]
    assert box.waiting_since == 1.0


def test_it_is_full_until_the_first_is_answered() -> None:
    """Catches a window that opens on any answer: what stands behind the first one would pile up without bound."""
    box, requests = filled(2)
    box.answer(requests[1], accepted=2, rejected=0)
    assert box.full
    box.answer(requests[0], accepted=2, rejected=0)
    assert not box.full
