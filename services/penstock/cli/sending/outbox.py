"""Which requests a sender owes an answer for. Pure bookkeeping: no connection, no clock.

A request leaves when it and all before it are answered; that is also how far the cursor goes.
"""

from __future__ import annotations

import bisect
import dataclasses

from penstock.cli.sending import cursor as cursors


@dataclasses.dataclass(slots=True, kw_only=True)
class Request:
    """Events `first_event` and following of the source, sent under `sequence`; `sent_at` is None while none is under way."""

    sequence: int
    first_event: int
    events: list[bytes]
    attempts: int = 0
    sent_at: float | None = None
    outcome: tuple[int, int] | None = None

    @property
    def waiting(self) -> bool:
        return self.outcome is None


class Outbox:
    """At most `limit` requests, in the order of the source."""

    def __init__(self, cursor: cursors.Cursor, *, limit: int) -> None:
        self._cursor = cursor
        self._limit = limit
        self._requests: dict[int, Request] = {}
        self._unsent: list[int] = []
        self._next_sequence = 0
        self._next_event = cursor.events

    @property
    def cursor(self) -> cursors.Cursor:
        return self._cursor

    @property
    def empty(self) -> bool:
        return not self._requests

    @property
    def full(self) -> bool:
        return len(self._requests) >= self._limit

    @property
    def unanswered(self) -> int:
        return sum(request.waiting for request in self._requests.values())

    @property
    def waiting_since(self) -> float | None:
        """When the longest-waiting request under way was sent."""
        return min((request.sent_at for request in self._requests.values() if request.sent_at is not None), default=None)

    def add(self, events: list[bytes]) -> None:
        sequence = self._next_sequence
        self._requests[sequence] = Request(sequence=sequence, first_event=self._next_event, events=events)
        self._unsent.append(sequence)
        self._next_sequence += 1
        self._next_event += len(events)

    def next_unsent(self) -> Request | None:
        """What to send next, the lowest first, so that what is sent again goes before what is new."""
        return self._requests[self._unsent.pop(0)] if self._unsent else None

    def send_all_again(self) -> None:
        """Nothing is under way any more: the connection broke."""
        for request in self._requests.values():
            request.sent_at = None
        self._unsent = [sequence for sequence, request in self._requests.items() if request.waiting]

    def send_again(self, request: Request) -> None:
        request.sent_at = None
        bisect.insort(self._unsent, request.sequence)

    def find(self, sequence: int) -> Request | None:
        """The request an answer belongs to; None when it has been answered before."""
        request = self._requests.get(sequence)
        return request if request and request.waiting else None

    def answer(self, request: Request, *, accepted: int, rejected: int) -> None:
        """This request is done; the cursor moves over all leading ones that are."""
        request.outcome, request.sent_at = (accepted, rejected), None
        for leading in list(self._requests.values()):
            if leading.outcome is None:
                return
            del self._requests[leading.sequence]
            self._cursor = _moved(self._cursor, len(leading.events), *leading.outcome)


def _moved(cursor: cursors.Cursor, events: int, accepted: int, rejected: int) -> cursors.Cursor:
    return dataclasses.replace(
        cursor, events=cursor.events + events, accepted=cursor.accepted + accepted, rejected=cursor.rejected + rejected
    )
