"""Room in memory, and what becomes of it."""

from __future__ import annotations

import asyncio

import pytest

from penstock.core import schema as schemas
from penstock.ingest import admission, instruments
from penstock.ingest import settings as ingest_settings
from penstock.ingest import submission as submissions

_SCHEMA = schemas.Schema(fields=(schemas.Field(name="id", type=schemas.FieldType.STRING),))


class _Builder:
    def __init__(self) -> None:
        self.answers: list[asyncio.Future[submissions.Outcome]] = []
        self.seen: list[submissions.Submission] = []

    def add(self, submission: submissions.Submission) -> asyncio.Future[submissions.Outcome]:
        self.seen.append(submission)
        self.answers.append(asyncio.get_running_loop().create_future())
        return self.answers[-1]

    async def drain(self) -> None:
        for answer in self.answers:
            if not answer.done():
                answer.set_result(submissions.Outcome(accepted=1))


def _admission(builder: _Builder) -> admission.Admission:
    settings = ingest_settings.IngestSettings(namespace="n", pipeline="p", schema=_SCHEMA, max_in_flight_bytes=100)
    return admission.Admission(settings, builder, instruments.Instruments("n", "p"), lambda: 42)  # type: ignore[arg-type]


async def test_bytes_are_held_until_the_answer_even_if_the_caller_leaves() -> None:
    """Catches room given back when a client disconnects: a loop of impatient clients would fill the memory."""
    builder = _Builder()
    admitted = _admission(builder)
    reservation = admitted.reserve()
    assert reservation.grow_to(80) is None
    call = asyncio.create_task(admitted.submit(reservation, encoding=submissions.Encoding.SINGLE, payload=b"{}", door="test"))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    refusal = admitted.reserve().grow_to(21)
    assert refusal is not None
    assert refusal.reason is submissions.RefusalReason.OVERLOADED
    builder.answers[0].set_result(submissions.Outcome(accepted=1))
    await asyncio.sleep(0)
    assert admitted.reserve().grow_to(100) is None


async def test_a_draining_service_takes_no_more_and_answers_what_it_has() -> None:
    """Catches a drain that refuses what was received, or returns before it is answered."""
    builder = _Builder()
    admitted = _admission(builder)
    reservation = admitted.reserve()
    assert reservation.grow_to(10) is None
    call = asyncio.create_task(admitted.submit(reservation, encoding=submissions.Encoding.SINGLE, payload=b"{}", door="test"))
    await asyncio.sleep(0)
    await admitted.drain()
    assert (await call).accepted == 1
    refusal = admitted.reserve().grow_to(0)
    assert refusal is not None
    assert refusal.reason is submissions.RefusalReason.DRAINING


async def test_a_body_that_was_being_read_when_draining_began_is_still_taken() -> None:
    """Catches a received request that is refused because its size is confirmed a moment too late."""
    admitted = _admission(_Builder())
    reservation = admitted.reserve()
    assert reservation.grow_to(10) is None
    admitted.draining.set()
    assert reservation.grow_to(10) is None


@pytest.mark.parametrize(
    ("traceparent", "kept"),
    [
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", True),
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-00", False),
        ("00-" + "a" * 32 + "-01", False),
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-zz", False),
        ("", False),
        ("é" * 55, False),
    ],
    ids=str,
)
def test_only_a_sampled_trace_context_is_kept(traceparent: str, kept: bool) -> None:
    """Catches a column of contexts that nobody records, and junk from a header in every row."""
    assert submissions.sampled(traceparent) == (traceparent if kept else "")
