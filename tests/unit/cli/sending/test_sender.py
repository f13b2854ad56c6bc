"""Every event is acknowledged at least once and counted exactly once, whatever the other side does."""

from __future__ import annotations

import asyncio
import itertools
import pathlib
import random
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest
from hypothesis import strategies as st
from tests.unit.cli import ingests

from penstock.cli.sending import cursor, door, pacing, sender
from penstock.cli.sending import outcome as sending
from penstock.v1 import ingest_pb2

OVERLOADED = ingests.refuse(ingest_pb2.REFUSAL_REASON_OVERLOADED, 1)
UNKNOWN = ingests.refuse(ingest_pb2.REFUSAL_REASON_UNKNOWN_OUTCOME, 0)


class NoWait(pacing.Backoff):
    def __init__(self) -> None:
        super().__init__(random.Random(0))

    def next_seconds(self) -> float:
        return 0.001


@pytest.fixture
def address() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        yield f"unix:{directory}/ingest"


def batches(count: int, of: int = 3) -> list[list[bytes]]:
    return [[b"%d/%d" % (batch, event) for event in range(of)] for batch in range(count)]


def events_of(sent: list[list[bytes]]) -> set[bytes]:
    return set(itertools.chain.from_iterable(sent))


async def deliver(address: str, sent: object, **options: object) -> sending.Totals:
    return await sender.StreamSender(door.Door(address=address), sent, backoff=NoWait(), **options).run()  # type: ignore[arg-type]


ANSWERS = st.lists(st.sampled_from([ingests.accept, ingests.drop, OVERLOADED, UNKNOWN, ingests.reject(0, 2)]), max_size=12)


@hypothesis.given(answers=ANSWERS, count=st.integers(0, 8), window=st.integers(1, 4))
@hypothesis.settings(max_examples=40, deadline=None)
def test_every_event_is_answered_for_whatever_the_other_side_does(answers: list[ingests.Answer], count: int, window: int) -> None:
    """Catches a sender that forgets what was in flight, or counts an event once per time it was sent."""
    sent = batches(count)
    ingest = ingests.Ingest(iter(answers))
    rejected: list[int] = []

    async def scenario(directory: str) -> tuple[sending.Totals, cursor.Cursor]:
        address, path = f"unix:{directory}/ingest", pathlib.Path(directory) / "cursor"
        listener = sending.Listener(rejected=lambda one: rejected.append(one.event))
        async with ingests.serving(ingest, address):
            totals = await deliver(address, sent, window=window, source="s", cursor_path=path, listener=listener)
        return totals, cursor.load(path, "s")

    with tempfile.TemporaryDirectory() as directory:
        totals, saved = asyncio.run(scenario(directory))
    refused = {sent[event // 3][event % 3] for event in rejected}
    assert set(ingest.stored) | refused == events_of(sent)
    assert (totals.accepted, totals.rejected) == (3 * count - len(rejected), len(rejected))
    assert (saved.events, saved.accepted, saved.rejected) == (3 * count, totals.accepted, totals.rejected)


async def test_a_server_that_restarts_gets_everything_it_had_not_answered(address: str) -> None:
    """Catches a sender that takes a written request for a delivered one."""
    sent = batches(40)
    first, second = ingests.Ingest(itertools.chain([ingests.accept] * 5, itertools.repeat(ingests.drop))), ingests.Ingest()
    broken = asyncio.Event()
    listener = sending.Listener(trouble=lambda _: broken.set())
    async with ingests.serving(first, address):
        running = asyncio.create_task(deliver(address, sent, window=8, listener=listener))
        await broken.wait()
    async with ingests.serving(second, address):
        totals = await running
    assert set(first.stored) | set(second.stored) == events_of(sent)
    assert totals.accepted == 120
    assert totals.reconnects >= 1


async def test_a_restarted_sender_goes_on_at_its_cursor(address: str, tmp_path: pathlib.Path) -> None:
    """Catches a cursor that runs ahead of the acknowledgements, and one that starts again."""
    sent, path = batches(10), tmp_path / "cursor"
    draining = ingests.refuse(ingest_pb2.REFUSAL_REASON_DRAINING, 0)
    first, second = ingests.Ingest(itertools.chain([ingests.accept] * 4, itertools.repeat(draining))), ingests.Ingest()
    async with ingests.serving(first, address):
        with pytest.raises(sending.RefusedError, match="events 13 to 15 were refused"):
            await deliver(address, sent, window=1, source="s", cursor_path=path)
    assert cursor.load(path, "s").events == 12
    async with ingests.serving(second, address):
        totals = await deliver(address, sent, source="s", cursor_path=path)
    assert set(first.stored) == events_of(sent[:4])
    assert set(second.stored) == events_of(sent[4:])
    assert totals.accepted == 30


async def test_the_cursor_stops_before_the_first_unanswered_request(address: str, tmp_path: pathlib.Path) -> None:
    """Catches a cursor that counts answers instead of leading answers: request 1 is refused, 2 and 3 are accepted."""
    path = tmp_path / "cursor"
    hopeless = ingests.refuse(ingest_pb2.REFUSAL_REASON_UNREADABLE, 0)
    wait = ingests.refuse(ingest_pb2.REFUSAL_REASON_OVERLOADED, 1)
    ingest = ingests.Ingest(iter([wait, ingests.accept, ingests.accept, hopeless]))
    async with ingests.serving(ingest, address):
        with pytest.raises(sending.RefusedError):
            await deliver(address, batches(3), window=3, source="s", cursor_path=path)
    assert len(ingest.stored) == 6
    assert cursor.load(path, "s").events == 0


async def test_the_first_of_its_window_is_sent_again_before_anything_new(address: str) -> None:
    """Catches a sender that lets a refused request starve behind new ones."""
    sent = [[b"x"] * size for size in (1, 2, 3, 4)]
    ingest = ingests.Ingest(iter([OVERLOADED]))
    async with ingests.serving(ingest, address):
        await deliver(address, sent, window=1)
    assert ingest.requests == [1, 1, 2, 3, 4]


async def test_an_answer_that_leaves_events_out_is_not_taken_for_one(address: str) -> None:
    """Catches a sender that trusts the number of responses instead of the number of events."""
    short = ingests.Ingest(iter([lambda request: ingest_pb2.PublishResponse(sequence=request.sequence, accepted=2)]))
    async with ingests.serving(short, address):
        with pytest.raises(sending.RefusedError, match="2 of 3 events"):
            await deliver(address, batches(1))


async def test_nobody_there_is_told_after_the_agreed_patience(address: str) -> None:
    """Catches a sender that waits for ever for an address with a typing error in it."""
    with pytest.raises(sending.UnreachableError, match="has not answered"):
        await deliver(address, batches(1), patience=sending.Patience(give_up_seconds=0.01))


async def test_an_ingest_that_only_ever_says_not_now_is_given_up(address: str) -> None:
    """Catches a sender that waits for ever for a log that stays full, whatever it was told about patience."""
    full = itertools.repeat(ingests.refuse(ingest_pb2.REFUSAL_REASON_OVERLOADED, 20))
    async with ingests.serving(ingests.Ingest(full), address):
        with pytest.raises(sending.UnreachableError, match="taken nothing"):
            await deliver(address, batches(1), patience=sending.Patience(give_up_seconds=0.05))


async def test_a_request_that_is_never_answered_is_sent_again_on_a_new_connection(address: str) -> None:
    """Catches a sender that trusts a connection whose other end has been stopped."""

    class Stuck(ingests.Ingest):
        async def PublishStream(self, request_iterator, context):  # noqa: N802
            if not self.requests:
                self.requests.append(0)
                await asyncio.Event().wait()
            async for response in super().PublishStream(request_iterator, context):
                yield response

    ingest = Stuck()
    async with ingests.serving(ingest, address):
        totals = await deliver(address, batches(2), patience=sending.Patience(stall_seconds=0.05))
    assert set(ingest.stored) == events_of(batches(2))
    assert totals.reconnects >= 1


async def test_a_server_that_is_no_ingest_is_named_and_not_asked_again(address: str) -> None:
    """Catches a sender that retries what can never work."""
    import grpc.aio

    server = grpc.aio.server()
    server.add_insecure_port(address)
    await server.start()
    with pytest.raises(sending.RefusedError) as raised:
        await deliver(address, batches(1))
    await server.stop(0)
    assert "check the address" in raised.value.remedy


async def test_what_the_source_raises_comes_out_after_what_it_gave(address: str) -> None:
    """Catches a reader thread that dies in silence, which would end the run as if all had been sent."""

    def failing() -> Iterator[list[bytes]]:
        yield [b"a"]
        raise OSError("disk")

    async with ingests.serving(ingests.Ingest(), address):
        with pytest.raises(OSError, match="disk"):
            await deliver(address, failing())


async def test_a_cursor_of_another_source_is_refused(address: str, tmp_path: pathlib.Path) -> None:
    """Catches a sender that skips the beginning of a file it has never sent."""
    path = tmp_path / "cursor"
    cursor.save(path, cursor.Cursor(source="old", events=5, accepted=5))
    with pytest.raises(cursor.CursorError, match='"old"'):
        sender.StreamSender(door.Door(address=address), [], source="new", cursor_path=path)
