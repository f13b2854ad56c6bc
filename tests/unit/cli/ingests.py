"""An ingest that misbehaves on purpose, in this process, on a socket in the test's own directory."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import grpc
import grpc.aio

from penstock.v1 import ingest_pb2, ingest_pb2_grpc

Answer = Callable[[ingest_pb2.PublishRequest], ingest_pb2.PublishResponse]


class DropConnectionError(Exception):
    """Raised by an `Answer`: the stream breaks without an answer to this request, which may have been stored."""


class Ingest(ingest_pb2_grpc.IngestServicer):
    """Stores every event it acknowledges in `stored`; `answers` decides request by request, then everything is accepted."""

    def __init__(self, answers: Iterator[Answer] | None = None) -> None:
        self.stored: collections.Counter[bytes] = collections.Counter()
        self.requests: list[int] = []
        self._answers = answers or iter(())

    async def PublishStream(  # noqa: N802 - the name in the protocol
        self, request_iterator: AsyncIterator[ingest_pb2.PublishRequest], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[ingest_pb2.PublishResponse]:
        async for request in request_iterator:
            self.requests.append(len(request.documents.json))
            try:
                response = next(self._answers, accept)(request)
            except DropConnectionError:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            refused = {rejection.index for rejection in response.rejected}
            if response.accepted:
                self.stored.update(event for index, event in enumerate(request.documents.json) if index not in refused)
            yield response


def accept(request: ingest_pb2.PublishRequest) -> ingest_pb2.PublishResponse:
    return ingest_pb2.PublishResponse(sequence=request.sequence, accepted=len(request.documents.json))


def drop(request: ingest_pb2.PublishRequest) -> ingest_pb2.PublishResponse:
    raise DropConnectionError


def refuse(reason: ingest_pb2.RefusalReason, retry_after_milliseconds: int) -> Answer:
    refusal = ingest_pb2.Refusal(reason=reason, message="no", retry_after_milliseconds=retry_after_milliseconds)
    return lambda request: ingest_pb2.PublishResponse(sequence=request.sequence, refusal=refusal)


def reject(*indices: int) -> Answer:
    """Refuse these events of a request and take the rest."""

    def answer(request: ingest_pb2.PublishRequest) -> ingest_pb2.PublishResponse:
        rejected = [
            ingest_pb2.Rejection(
                index=index, code=ingest_pb2.REJECTION_CODE_SCHEMA_MISMATCH, field="n", reason="bad", remedy="mend"
            )
            for index in indices
        ]
        accepted = len(request.documents.json) - len(rejected)
        return ingest_pb2.PublishResponse(sequence=request.sequence, accepted=accepted, rejected=rejected)

    return answer


@contextlib.asynccontextmanager
async def serving(ingest: Ingest, address: str) -> AsyncIterator[None]:
    server = grpc.aio.server()
    ingest_pb2_grpc.add_IngestServicer_to_server(ingest, server)
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)
