"""The stream's window, without a network: a context that a test reads and writes by hand."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import grpc
import pytest

from penstock.ingest import grpc_door
from penstock.ingest import submission as submissions
from penstock.v1 import ingest_pb2


class _Admission:
    """Answers everything at once."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()

    def reserve(self) -> Any:
        return self

    def grow_to(self, _: int) -> None: ...

    async def submit(self, *_: object, **__: object) -> submissions.Outcome:
        return submissions.Outcome(accepted=1)


class _Context:
    """A client that sends `most` requests and takes an answer only when `taken` is released."""

    def __init__(self, most: int) -> None:
        self._numbers = itertools.count()
        self._most = most
        self.read_so_far = 0
        self.answers: list[int] = []
        self.taken = asyncio.Semaphore(0)
        self.broken = False

    def invocation_metadata(self) -> tuple[()]:
        return ()

    async def read(self) -> object:
        number = next(self._numbers)
        if number == self._most:
            return grpc.aio.EOF
        self.read_so_far += 1
        return ingest_pb2.PublishRequest(sequence=number, ndjson=b"{}")

    async def write(self, response: ingest_pb2.PublishResponse) -> None:
        await self.taken.acquire()
        if self.broken:
            raise ConnectionError("the client is gone")
        self.answers.append(response.sequence)


async def _settled() -> None:
    """All that can run has run."""
    for _ in range(2_000):
        await asyncio.sleep(0)


async def test_requests_are_read_no_faster_than_their_answers_leave() -> None:
    """Catches answers that pile up for a client that reads none, while its requests are read on and on."""
    context = _Context(most=1_000)
    streaming = asyncio.create_task(grpc_door._Servicer(_Admission(), None).PublishStream(None, context))  # type: ignore[arg-type]
    await _settled()
    assert grpc_door._STREAM_WINDOW <= context.read_so_far <= grpc_door._STREAM_WINDOW + 1
    for _ in range(10):
        context.taken.release()
    await _settled()
    assert context.read_so_far <= grpc_door._STREAM_WINDOW + 11
    for _ in range(1_000):
        context.taken.release()
    await streaming
    assert sorted(context.answers) == list(range(1_000))


async def test_a_client_that_is_gone_ends_its_stream() -> None:
    """Catches a stream that waits for ever for room in a window that nobody empties any more."""
    context = _Context(most=1_000)
    context.broken = True
    streaming = asyncio.create_task(grpc_door._Servicer(_Admission(), None).PublishStream(None, context))  # type: ignore[arg-type]
    context.taken.release()
    with pytest.raises(ExceptionGroup):
        await streaming
