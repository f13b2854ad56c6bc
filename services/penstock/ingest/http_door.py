"""The HTTP door: `/v1/events` for one event, `/v1/events/batch` for many, CloudEvents at both, and the probes.

Accepted is 202 with the itemised outcome. When every event was refused it is 400 with the same body (413 if size was the
only fault), so that a client that looks at nothing but the status learns of it. A request refused as a whole is
problem+json (RFC 9457).
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from penstock.core import parse
from penstock.ingest import addresses, admission, cloudevents, idempotency, tokens
from penstock.ingest import body as bodies
from penstock.ingest import submission as submissions

_DOOR = "http"
_CLOSE_SECONDS = 1.0
_FULL_RETRY_SECONDS = 5
_JSON = msgspec.json.Encoder()
_Encoding = submissions.Encoding

_SINGLE_TYPES = {
    "application/json": _Encoding.SINGLE,
    # What curl -d and browsers' beacons say of a body that is JSON all the same.
    "application/x-www-form-urlencoded": _Encoding.SINGLE,
    "text/plain": _Encoding.SINGLE,
    "application/octet-stream": _Encoding.SINGLE,
    "application/cloudevents+json": _Encoding.CLOUD_EVENT,
    "application/cloudevents-batch+json": _Encoding.CLOUD_EVENTS,
}
_BATCH_TYPES = {
    "application/json": _Encoding.JSON_ARRAY,
    "application/x-ndjson": _Encoding.NDJSON,
    "application/vnd.apache.arrow.stream": _Encoding.ARROW,
    "application/cloudevents-batch+json": _Encoding.CLOUD_EVENTS,
}
_STATUSES = {
    submissions.RefusalReason.OVERLOADED: 429,
    submissions.RefusalReason.DRAINING: 503,
    submissions.RefusalReason.UNKNOWN_OUTCOME: 503,
    submissions.RefusalReason.UNREADABLE: 400,
    submissions.RefusalReason.KEY_REUSED: 422,
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpDoor:
    """The server. `start`, then `close`; draining is the admission's. Without a guard everybody may send."""

    def __init__(
        self,
        admitted: admission.Admission,
        address: str,
        limits: bodies.Limits,
        guard: tokens.TokenGuard | None = None,
        tls: ssl.SSLContext | None = None,
        *,
        max_connections: int,
    ) -> None:
        self._admission = admitted
        self._address = address
        self._limits = limits
        self._guard = guard
        self._tls = tls
        self._max_connections = max_connections
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            shutdown_timeout=_CLOSE_SECONDS,
            # Long enough for a client to read why the rest of its body is not wanted.
            lingering_time=2.0,
            keepalive_timeout=limits.connection_idle_seconds,
            # Bodies are unpacked here, piece by piece within the admission's bound.
            auto_decompress=False,
        )

    async def start(self) -> str:
        """The address bound. Raises OSError when it is taken."""
        await self._runner.setup()
        host, port = addresses.split(self._address)
        try:
            await _BoundedSite(self._runner, host, port, self._tls, self._max_connections).start()
        except OSError as error:
            raise OSError(f"can't listen at {self._address} for HTTP: {error.strerror or error}") from error
        return addresses.with_port(self._address, self._runner.addresses[0][1])

    async def close(self) -> None:
        await self._runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[_problems])
        application.router.add_post("/v1/events", self._single)
        application.router.add_post("/v1/events/batch", self._batch)
        application.router.add_get("/healthz", self._healthy)
        application.router.add_get("/readyz", self._ready)
        return application

    async def _single(self, request: web.Request) -> web.Response:
        return await self._taken(request, _SINGLE_TYPES, advertised=("application/json", "application/cloudevents+json"))

    async def _batch(self, request: web.Request) -> web.Response:
        return await self._taken(request, _BATCH_TYPES, advertised=tuple(_BATCH_TYPES))

    async def _healthy(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        draining = self._admission.draining.is_set()
        return web.Response(text="draining\n" if draining else "ok\n", status=503 if draining else 200)

    async def _taken(
        self, request: web.Request, types: dict[str, submissions.Encoding], *, advertised: Sequence[str]
    ) -> web.Response:
        client = self._client(request)
        if client is None:
            return self._stranger("Authorization" in request.headers)
        encoding = _encoding(request, types)
        if encoding is None:
            return _wrong_type(request.content_type, advertised)
        key, fault = _key(request, client)
        if fault:
            return _problem(400, "bad-idempotency-key", "The Idempotency-Key can't be used", fault)
        reservation = self._admission.reserve()
        try:
            body = await bodies.read(request, reservation, self._limits)
        except BaseException:
            reservation.release()
            raise
        if encoding is _Encoding.CLOUD_EVENT_BINARY:
            body = cloudevents.pack(request.headers.items(), request.headers.get("Content-Type", ""), body)
        if not body:
            reservation.release()
            return _problem(400, "empty-body", "The body is empty", "send at least one event")
        outcome = await self._admission.submit(
            reservation,
            encoding=encoding,
            payload=body,
            door=_DOOR,
            traceparent=request.headers.get("traceparent", ""),
            key=key,
        )
        return _refusal(outcome.refusal) if outcome.refusal else _itemised(outcome)

    def _client(self, request: web.Request) -> str | None:
        """The client's name, empty where nobody is asked for one; None for a stranger."""
        return "" if self._guard is None else self._guard.client(request.headers.get("Authorization", ""))

    def _stranger(self, shown: bool) -> web.Response:
        self._admission.unauthenticated()
        detail = "the token is not valid here" if shown else "no token: send Authorization: Bearer TOKEN"
        response = _problem(401, "unauthenticated", "Who are you?", detail)
        response.headers["WWW-Authenticate"] = 'Bearer realm="penstock"' + (', error="invalid_token"' if shown else "")
        return response


def _encoding(request: web.Request, types: Mapping[str, submissions.Encoding]) -> submissions.Encoding | None:
    told = types.get(request.content_type)
    is_cloud_event = told in (_Encoding.CLOUD_EVENT, _Encoding.CLOUD_EVENTS)
    if types is _SINGLE_TYPES and not is_cloud_event and cloudevents.is_binary(request.headers):
        return _Encoding.CLOUD_EVENT_BINARY
    return told


def _key(request: web.Request, client: str) -> tuple[idempotency.Key | None, str]:
    """The idempotency key, if there is one, and what is wrong with it."""
    text = request.headers.get("Idempotency-Key")
    if text is None:
        return None, ""
    return idempotency.Key(client, text), idempotency.problem(text)


class _BoundedSite(web.BaseSite):
    """Connections beyond the bound are told to come again later and closed, whatever they were about to send."""

    def __init__(self, runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None, most: int) -> None:
        super().__init__(runner, ssl_context=tls)
        self._host, self._port, self._most = host, port, most

    @property
    def name(self) -> str:
        """See web.BaseSite."""
        return f"{'https' if self._ssl_context else 'http'}://{self._host}:{self._port}"

    async def start(self) -> None:
        """See web.BaseSite."""
        await super().start()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._protocol, self._host, self._port, ssl=self._ssl_context, backlog=self._backlog, reuse_port=False
        )

    def _protocol(self) -> asyncio.BaseProtocol:
        served = self._runner.server
        assert served is not None  # noqa: S101 - a runner that was set up has one
        return served() if len(served.connections) < self._most else _Full()


class _Full(asyncio.Protocol):
    """The answer to one connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - it is a socket's
        detail = "all connections of this door are in use: send again later"
        body = _problem(503, "too-many-connections", "Too many connections", detail).body
        assert isinstance(body, bytes)  # noqa: S101 - made of bytes
        head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}"
        transport.write(f"{head}\r\nRetry-After: {_FULL_RETRY_SECONDS}\r\nConnection: close\r\n\r\n".encode() + body)
        transport.close()


@web.middleware
async def _problems(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """aiohttp's own refusals (unknown path, wrong method, too large) in the form of ours."""
    try:
        return await handler(request)
    except TimeoutError:
        return _problem(408, "too-slow", "The body took too long", "nothing was accepted; send it again, in smaller requests")
    except bodies.NoRoomError as error:
        return _refusal(error.refusal)
    except bodies.BodyRefusedError as error:
        response = _problem(error.status, _kind(error.title), error.title, error.detail)
        response.headers.update(error.headers)
        return response
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = _problem(error.status, _kind(error.reason), error.reason, error.text or error.reason)
        response.headers.update({name: value for name, value in error.headers.items() if name == "Allow"})
        return response


def _itemised(outcome: submissions.Outcome) -> web.Response:
    body = {"accepted": outcome.accepted, "rejected": [_rejection(why) for why in outcome.rejected]}
    return web.Response(body=_JSON.encode(body), status=_status(outcome), content_type="application/json")


def _status(outcome: submissions.Outcome) -> int:
    if outcome.accepted or not outcome.rejected:
        return 202
    return 413 if all(why.code is parse.Code.TOO_LARGE for why in outcome.rejected) else 400


def _rejection(why: parse.Rejection) -> dict[str, Any]:
    return {"index": why.index, "code": why.code.value, "field": why.field, "reason": why.reason, "remedy": why.remedy}


def _wrong_type(found: str, advertised: Sequence[str]) -> web.Response:
    accepted = ", ".join(advertised)
    detail = f'the content type is "{found}"; accepted here: {accepted}'
    response = _problem(415, "wrong-content-type", "The content type is not accepted here", detail)
    response.headers["Accept-Post"] = accepted
    return response


def _refusal(refusal: submissions.Refusal) -> web.Response:
    title = {
        submissions.RefusalReason.OVERLOADED: "Overloaded",
        submissions.RefusalReason.DRAINING: "Draining",
        submissions.RefusalReason.UNKNOWN_OUTCOME: "The outcome is unknown",
        submissions.RefusalReason.UNREADABLE: "The body can't be read",
        submissions.RefusalReason.KEY_REUSED: "The Idempotency-Key was used before",
    }[refusal.reason]
    response = _problem(_STATUSES[refusal.reason], _kind(title), title, refusal.message)
    if refusal.retry_after_seconds:
        response.headers["Retry-After"] = str(math.ceil(refusal.retry_after_seconds))
    return response


def _kind(title: str) -> str:
    return title.lower().replace(" ", "-").replace("'", "")


def _problem(status: int, kind: str, title: str, detail: str) -> web.Response:
    body = {"type": f"urn:penstock:problem:{kind}", "title": title, "status": status, "detail": detail}
    return web.Response(body=_JSON.encode(body), status=status, content_type="application/problem+json")
