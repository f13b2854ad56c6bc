"""The gRPC door: `penstock.v1.Ingest` with health and reflection.

A stream is read and answered at the same time: each request is one task, answers leave in the order in which they become
known. A client that sends faster than the log takes is slowed by the stream's window, and refused beyond the shared bound.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from penstock.core import parse
from penstock.ingest import addresses, admission, idempotency, tokens
from penstock.ingest import submission as submissions
from penstock.v1 import ingest_pb2, ingest_pb2_grpc

_NAME = ingest_pb2.DESCRIPTOR.services_by_name["Ingest"].full_name
_DOOR = "grpc"
_STREAM_WINDOW = 64
"""Requests of one stream under way at once; the next is not read before the answer to one of them has left."""
_MEBIBYTE = 1024 * 1024
_CLOSE_SECONDS = 1.0

_Context = grpc.aio.ServicerContext[ingest_pb2.PublishRequest, ingest_pb2.PublishResponse]

_STRANGER = "no valid token: send it as metadata, authorization: Bearer TOKEN"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Caller:
    """What a call's metadata says; texts are empty where it says nothing."""

    client: str
    key: str
    traceparent: str


_STATUSES = {
    submissions.RefusalReason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    submissions.RefusalReason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    submissions.RefusalReason.UNKNOWN_OUTCOME: grpc.StatusCode.UNAVAILABLE,
    submissions.RefusalReason.UNREADABLE: grpc.StatusCode.INVALID_ARGUMENT,
    submissions.RefusalReason.KEY_REUSED: grpc.StatusCode.INVALID_ARGUMENT,
}
_REASONS = {
    submissions.RefusalReason.OVERLOADED: ingest_pb2.REFUSAL_REASON_OVERLOADED,
    submissions.RefusalReason.DRAINING: ingest_pb2.REFUSAL_REASON_DRAINING,
    submissions.RefusalReason.UNKNOWN_OUTCOME: ingest_pb2.REFUSAL_REASON_UNKNOWN_OUTCOME,
    submissions.RefusalReason.UNREADABLE: ingest_pb2.REFUSAL_REASON_UNREADABLE,
    submissions.RefusalReason.KEY_REUSED: ingest_pb2.REFUSAL_REASON_UNREADABLE,
}
_CODES = {
    parse.Code.MALFORMED: ingest_pb2.REJECTION_CODE_MALFORMED,
    parse.Code.SCHEMA_MISMATCH: ingest_pb2.REJECTION_CODE_SCHEMA_MISMATCH,
    parse.Code.TOO_LARGE: ingest_pb2.REJECTION_CODE_TOO_LARGE,
}
_ENCODINGS = {
    "ndjson": submissions.Encoding.NDJSON,
    "documents": submissions.Encoding.DOCUMENTS,
    "arrow_stream": submissions.Encoding.ARROW,
}


class GrpcDoor:
    """The server. `start`, then `drain`, then `close`. Without a guard everybody may send; health needs no token ever."""

    def __init__(
        self,
        admitted: admission.Admission,
        address: str,
        max_request_bytes: int,
        max_calls: int,
        guard: tokens.TokenGuard | None = None,
        tls: grpc.ServerCredentials | None = None,
    ) -> None:
        self._address = address
        self._tls = tls
        interceptors = [] if guard is None else [_Doorkeeper(admitted, guard)]
        self._server = grpc.aio.server(
            interceptors=interceptors, options=_options(max_request_bytes), maximum_concurrent_rpcs=max_calls
        )
        self._health = health.aio.HealthServicer()
        ingest_pb2_grpc.add_IngestServicer_to_server(_Servicer(admitted, guard), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self) -> str:
        """The address bound. Raises OSError when it is taken."""
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(self._address)
            else:
                port = self._server.add_secure_port(self._address, self._tls)
        except RuntimeError as error:
            raise OSError(f"can't listen at {self._address} for gRPC: is it taken by another process?") from error
        await self._server.start()
        for name in ("", _NAME):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return addresses.with_port(self._address, port)

    async def drain(self) -> None:
        """Probes and balancers see it; calls under way go on."""
        await self._health.enter_graceful_shutdown()

    async def close(self) -> None:
        await self._server.stop(_CLOSE_SECONDS)


def _options(max_request_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_request_bytes + _MEBIBYTE),
        ("grpc.max_send_message_length", max_request_bytes + _MEBIBYTE),
        ("grpc.max_concurrent_streams", 128),
        # Guessing at the line's capacity it would let each stream send megabytes ahead that nobody has asked for; with its
        # smallest window instead of a mebibyte an event costs a tenth more.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _MEBIBYTE),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        # Without an end to connections, a new replica gets no traffic from old clients; grpc spreads the ends by itself.
        ("grpc.max_connection_age_ms", 7 * 60_000),
        ("grpc.max_connection_age_grace_ms", 30_000),
        # Two processes that share a port by accident would each get half of the events.
        ("grpc.so_reuseport", 0),
    ]


class _Doorkeeper(grpc.aio.ServerInterceptor):
    """Ends the calls of strangers before a byte of their messages is read."""

    def __init__(self, admitted: admission.Admission, guard: tokens.TokenGuard) -> None:
        self._admission = admitted
        self._guard = guard

    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        """See grpc.aio.ServerInterceptor."""
        asked = str(details.method)
        if not asked.startswith(f"/{_NAME}/") or _client(self._guard, details.invocation_metadata) is not None:
            return await continuation(details)
        # A handler of streams, whatever the method is: any other receives the message first.
        return grpc.stream_stream_rpc_method_handler(self._refuse)

    async def _refuse(self, requests: object, context: _Context) -> None:
        self._admission.unauthenticated()
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, _STRANGER)


class _Servicer(ingest_pb2_grpc.IngestServicer):
    def __init__(self, admitted: admission.Admission, guard: tokens.TokenGuard | None) -> None:
        self._admission = admitted
        self._guard = guard

    async def Publish(  # noqa: N802 - the name in the proto
        self, request: ingest_pb2.PublishRequest, context: _Context
    ) -> ingest_pb2.PublishResponse:
        """See ingest.proto. A request that is refused as a whole ends with a status."""
        caller = await _caller(self._guard, context)
        outcome = await _submitted(self._admission, request, caller)
        if outcome.refusal is not None:
            await _abort(context, outcome.refusal)
        return _response(request.sequence, outcome)

    async def PublishStream(  # type: ignore[override]  # noqa: N802 - the stubs know generators only
        self, request_iterator: object, context: _Context
    ) -> None:
        """See ingest.proto. A refusal is a response, the stream goes on; draining ends it when all that was read is answered."""
        caller = await _caller(self._guard, context)
        stream = _Stream(self._admission, context, self._guard, caller)
        try:
            await stream.run()
        except* grpc.aio.BaseError:
            # Nobody is left to be told; a fault of ours would be answered, and that answer's failure be logged.
            stream.gone = True
        if stream.gone:
            raise asyncio.CancelledError
        if stream.revoked:
            self._admission.unauthenticated()
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, _STRANGER)
        if self._admission.draining.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "this pipeline is draining: connect again, to another replica")


class _Stream:
    """One call of PublishStream."""

    def __init__(
        self, admitted: admission.Admission, context: _Context, guard: tokens.TokenGuard | None, caller: _Caller
    ) -> None:
        self._admission = admitted
        self._context = context
        self._guard = guard
        self._caller = caller
        self.revoked = self.gone = False
        self._window = asyncio.Semaphore(_STREAM_WINDOW)
        self._responses: asyncio.Queue[ingest_pb2.PublishResponse | None] = asyncio.Queue()

    async def run(self) -> None:
        """Until the client has ended its side, or draining began, and every answer is written."""
        async with asyncio.TaskGroup() as writing:
            writing.create_task(self._write())
            async with asyncio.TaskGroup() as answering:
                # Room in the window first: a request that is read before would wait in memory that nobody has counted.
                await self._window.acquire()
                async for request in self._requests():
                    answering.create_task(self._answer(request))
                    await self._window.acquire()
            self._responses.put_nowait(None)

    async def _requests(self) -> Any:
        draining = asyncio.create_task(self._admission.draining.wait())
        try:
            while not draining.done():
                reading = asyncio.ensure_future(self._context.read())
                await asyncio.wait((reading, draining), return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    return
                request = reading.result()
                if not isinstance(request, ingest_pb2.PublishRequest):  # the end of the client's side
                    return
                if _client(self._guard, self._context.invocation_metadata()) is None:
                    self.revoked = True
                    return
                yield request
        finally:
            draining.cancel()

    async def _answer(self, request: ingest_pb2.PublishRequest) -> None:
        outcome = await _submitted(self._admission, request, self._caller, request.sequence)
        self._responses.put_nowait(_response(request.sequence, outcome))

    async def _write(self) -> None:
        while (response := await self._responses.get()) is not None:
            await self._context.write(response)
            # Only now: the answers to a client that reads none would pile up here.
            self._window.release()


async def _submitted(
    admitted: admission.Admission, request: ingest_pb2.PublishRequest, caller: _Caller, sequence: int = 0
) -> submissions.Outcome:
    kind = request.WhichOneof("payload")
    if kind is None:
        return submissions.refused(submissions.RefusalReason.UNREADABLE, "no payload: set ndjson, documents or arrow_stream")
    payload: submissions.Payload = list(request.documents.json) if kind == "documents" else getattr(request, kind)
    reservation = admitted.reserve()
    refusal = reservation.grow_to(request.ByteSize())
    if refusal is not None:
        return submissions.Outcome(refusal=refusal)
    key = idempotency.Key(caller.client, caller.key, sequence) if caller.key else None
    return await admitted.submit(
        reservation, encoding=_ENCODINGS[kind], payload=payload, door=_DOOR, traceparent=caller.traceparent, key=key
    )


def _response(sequence: int, outcome: submissions.Outcome) -> ingest_pb2.PublishResponse:
    response = ingest_pb2.PublishResponse(sequence=sequence, accepted=outcome.accepted)
    response.rejected.extend(
        ingest_pb2.Rejection(index=why.index, code=_CODES[why.code], field=why.field, reason=why.reason, remedy=why.remedy)
        for why in outcome.rejected
    )
    if outcome.refusal is not None:
        response.refusal.reason = _REASONS[outcome.refusal.reason]
        response.refusal.message = outcome.refusal.message
        response.refusal.retry_after_milliseconds = round(outcome.refusal.retry_after_seconds * 1000)
    return response


async def _abort(context: _Context, refusal: submissions.Refusal) -> NoReturn:
    if refusal.retry_after_seconds:
        pause = str(round(refusal.retry_after_seconds * 1000))
        context.set_trailing_metadata((("grpc-retry-pushback-ms", pause),))
    await context.abort(_STATUSES[refusal.reason], refusal.message)


async def _caller(guard: tokens.TokenGuard | None, context: _Context) -> _Caller:
    told = _texts(context.invocation_metadata())
    key = told.get("idempotency-key", "")
    fault = idempotency.problem(key) if "idempotency-key" in told else ""
    if fault:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, fault)
    client = _client(guard, context.invocation_metadata())
    return _Caller(client=client or "", key=key, traceparent=told.get("traceparent", ""))


def _client(guard: tokens.TokenGuard | None, metadata: Any) -> str | None:
    """The client's name, empty where nobody is asked for one; None for a stranger."""
    return "" if guard is None else guard.client(_texts(metadata).get("authorization", ""))


def _texts(metadata: Any) -> dict[str, str]:
    return {name: value for name, value in metadata or () if isinstance(value, str)}
