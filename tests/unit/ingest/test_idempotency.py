"""Requests that come twice under one key."""

from __future__ import annotations

import asyncio

import pytest

from penstock.core import parse
from penstock.ingest import idempotency
from penstock.ingest import submission as submissions

_KEY = idempotency.Key("client", "key")


def _done(outcome: submissions.Outcome) -> asyncio.Future[submissions.Outcome]:
    answer: asyncio.Future[submissions.Outcome] = asyncio.get_running_loop().create_future()
    answer.set_result(outcome)
    return answer


async def test_a_repeat_finds_the_first_answer_also_while_it_is_under_way() -> None:
    """Catches a repeat that is appended because the first had not been answered."""
    remembered = idempotency.Remembered()
    answer: asyncio.Future[submissions.Outcome] = asyncio.get_running_loop().create_future()
    assert remembered.find(_KEY, b"d", 0.0) is None
    remembered.put(_KEY, b"d", answer, 0.0)
    assert remembered.find(_KEY, b"d", 1.0) is answer
    answer.set_result(submissions.Outcome(accepted=3))
    await asyncio.sleep(0)
    assert remembered.find(_KEY, b"d", 599.0) is answer
    assert remembered.find(_KEY, b"d", 600.0) is None


@pytest.mark.parametrize("other", [idempotency.Key("other", "key"), idempotency.Key("client", "key", 1)], ids=str)
async def test_a_key_is_its_clients_and_its_requests_own(other: idempotency.Key) -> None:
    """Catches two clients, or two requests of a stream, that get each other's answers."""
    remembered = idempotency.Remembered()
    remembered.put(_KEY, b"d", _done(submissions.Outcome(accepted=1)), 0.0)
    assert remembered.find(other, b"d", 0.0) is None


async def test_a_key_used_for_other_events_is_refused() -> None:
    """Catches new events answered as if they were the old ones, and lost."""
    remembered = idempotency.Remembered()
    remembered.put(_KEY, b"d", _done(submissions.Outcome(accepted=1)), 0.0)
    found = remembered.find(_KEY, b"e", 0.0)
    assert isinstance(found, submissions.Outcome)
    assert found.refusal is not None
    assert found.refusal.reason is submissions.RefusalReason.KEY_REUSED


async def test_a_refused_request_is_tried_anew() -> None:
    """Catches 429 or an unknown outcome answered for ten minutes."""
    remembered = idempotency.Remembered()
    remembered.put(_KEY, b"d", _done(submissions.refused(submissions.RefusalReason.OVERLOADED, "later")), 0.0)
    await asyncio.sleep(0)
    assert remembered.find(_KEY, b"d", 0.0) is None


async def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    """Catches keys, or long lists of refusals, that pile up."""
    why = parse.Rejection(index=0, code=parse.Code.MALFORMED, field="", reason="", remedy="")
    remembered = idempotency.Remembered(most_bytes=10 * 1024)
    for number in range(100):
        remembered.put(idempotency.Key("", str(number)), b"d", _done(submissions.Outcome(accepted=1)), 0.0)
    known = [number for number in range(100) if remembered.find(idempotency.Key("", str(number)), b"d", 0.0)]
    assert known == list(range(90, 100))
    remembered.put(_KEY, b"d", _done(submissions.Outcome(rejected=(why,) * 8)), 0.0)
    await asyncio.sleep(0)
    known = [number for number in range(100) if remembered.find(idempotency.Key("", str(number)), b"d", 0.0)]
    assert known == [99]


async def test_the_same_bytes_in_another_form_are_another_payload() -> None:
    """Catches documents that run together, and a batch taken for one event."""
    digests = [
        await idempotency.digest(submissions.Encoding.SINGLE, b"ab"),
        await idempotency.digest(submissions.Encoding.NDJSON, b"ab"),
        await idempotency.digest(submissions.Encoding.DOCUMENTS, [b"a", b"b"]),
        await idempotency.digest(submissions.Encoding.DOCUMENTS, [b"ab", b""]),
        await idempotency.digest(submissions.Encoding.NDJSON, b"ab" * 200_000),
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize(
    ("text", "fine"), [("a", True), ("x" * 255, True), ("x" * 256, False), ("", False), ("a b", False), ("é", False)]
)
def test_what_can_be_a_key(text: str, fine: bool) -> None:
    """Catches a key of any length kept in memory."""
    assert (idempotency.problem(text) == "") is fine
