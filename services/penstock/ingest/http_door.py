"""The HTTP door: `/v1/events` for one event, `/v1/events/batch` for many, and the probes.

Accepted is 202 with the itemised outcome. When every event was refused it is 400 with the same body (413 if size was the
only fault), so that a client that looks at nothing but the status learns of it. A request refused as a whole is
problem+json (RFC 9457).
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from aiohttp import web

from penstock.core import parse
from penstock.ingest import addresses, admission
from penstock.ingest import submission as submissions

_DOOR = "http"
_CLOSE_SECONDS = 1.0
_JSON = msgspec.json.Encoder()
_Encoding = submissions.Encoding

_SINGLE_TYPES = {
    "application/json": _Encoding.SINGLE,
    # What curl -d and browsers' beacons say of a body that is JSON all the same.
    "application/x-www-form-urlencoded": _Encoding.SINGLE,
    "text/plain": _Encoding.SINGLE,
    "application/octet-stream": _Encoding.SINGLE,
}
_BATCH_TYPES = {
    "application/json": _Encoding.JSON_ARRAY,
    "application/x-ndjson": _Encoding.NDJSON,
    "application/vnd.apache.arrow.stream": _Encoding.ARROW,
}
_STATUSES = {
    submissions.RefusalReason.OVERLOADED: 429,
    submissions.RefusalReason.DRAINING: 503,
    submissions.RefusalReason.UNKNOWN_OUTCOME: 503,
    submissions.RefusalReason.UNREADABLE: 400,
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HttpDoor:
    """The server. `start`, then `close`; draining is the admission's."""

    def __init__(self, admitted: admission.Admission, address: str, max_request_bytes: int) -> None:
        self._admission = admitted
        self._address = address
        self._runner = web.AppRunner(self._application(max_request_bytes), access_log=None, shutdown_timeout=_CLOSE_SECONDS)

    async def start(self) -> str:
        """The address bound. Raises OSError when it is taken."""
        await self._runner.setup()
        host, port = addresses.split(self._address)
        await web.TCPSite(self._runner, host, port, reuse_port=False).start()
        return addresses.with_port(self._address, self._runner.addresses[0][1])

    async def close(self) -> None:
        await self._runner.cleanup()

    def _application(self, max_request_bytes: int) -> web.Application:
        application = web.Application(client_max_size=max_request_bytes, middlewares=[_problems])
        application.router.add_post("/v1/events", self._single)
        application.router.add_post("/v1/events/batch", self._batch)
        application.router.add_get("/healthz", self._healthy)
        application.router.add_get("/readyz", self._ready)
        return application

    async def _single(self, request: web.Request) -> web.Response:
        return await self._taken(request, _SINGLE_TYPES, advertised=("application/json",))

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
        encoding = types.get(request.content_type)
        if encoding is None:
            return _wrong_type(request.content_type, advertised)
        reservation = self._admission.reserve()
        try:
            body = await self._body(request, reservation)
        except BaseException:
            reservation.release()
            raise
        if isinstance(body, submissions.Refusal):
            reservation.release()
            return _refusal(body)
        if not body:
            reservation.release()
            return _problem(400, "empty-body", "The body is empty", "send at least one event")
        outcome = await self._admission.submit(
            reservation, encoding=encoding, payload=body, door=_DOOR, traceparent=request.headers.get("traceparent", "")
        )
        return _refusal(outcome.refusal) if outcome.refusal else _itemised(outcome)

    async def _body(self, request: web.Request, reservation: admission.Reservation) -> bytes | submissions.Refusal:
        """Room is held for what the client announces before a byte of it is read."""
        refusal = reservation.grow_to(request.content_length or 0)
        if refusal is not None:
            return refusal
        body = await request.read()
        return reservation.grow_to(len(body)) or body


@web.middleware
async def _problems(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """aiohttp's own refusals (unknown path, wrong method, too large) in the form of ours."""
    try:
        return await handler(request)
    except web.HTTPRequestEntityTooLarge as error:
        return _problem(413, "too-large", "The body is too large", f"{error.text}: send it in several requests")
    except web.HTTPException as error:
        if error.status < 400:
            raise
        response = _problem(error.status, error.reason.lower().replace(" ", "-"), error.reason, error.text or error.reason)
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
    }[refusal.reason]
    kind = title.lower().replace(" ", "-").replace("'", "")
    response = _problem(_STATUSES[refusal.reason], kind, title, refusal.message)
    if refusal.retry_after_seconds:
        response.headers["Retry-After"] = str(math.ceil(refusal.retry_after_seconds))
    return response


def _problem(status: int, kind: str, title: str, detail: str) -> web.Response:
    body = {"type": f"urn:penstock:problem:{kind}", "title": title, "status": status, "detail": detail}
    return web.Response(body=_JSON.encode(body), status=status, content_type="application/problem+json")
