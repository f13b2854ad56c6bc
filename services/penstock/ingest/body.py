"""Reading one HTTP body within bounds of bytes and time.

Room is held for what has arrived, not for what was announced, so a client that announces much and sends nothing takes no
room from others; what could not be held even now is refused before a byte of it is read.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator

from aiohttp import web

from penstock.ingest import admission, unpacking
from penstock.ingest import submission as submissions


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one body: unpacked bytes, the silence between two pieces of it, and its whole time on the wire.

    `connection_idle_seconds` is how long a connection may go without a whole request head.
    """

    most_bytes: int
    idle_seconds: float
    total_seconds: float
    connection_idle_seconds: float


class BodyRefusedError(Exception):
    """This body can't be taken; `kind` and `title` name the problem, `headers` go with the answer."""

    def __init__(self, status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.headers = status, title, detail, headers or {}


class NoRoomError(Exception):
    """Admission refuses it now."""

    def __init__(self, refusal: submissions.Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


async def read(request: web.Request, reservation: admission.Reservation, limits: Limits) -> bytes:
    """The body, unpacked; its bytes are held by `reservation`. Raises BodyRefusedError, NoRoomError."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity" and not unpacking.is_known(encoding):
        accepted = ", ".join(unpacking.ENCODINGS)
        detail = f'the content encoding is "{encoding}"; accepted here: {accepted}, or none'
        raise BodyRefusedError(415, "The content encoding is not accepted here", detail, {"Accept-Encoding": accepted})
    body = await _arrived(request, reservation, limits)
    return body if encoding == "identity" else await _unpacked(body, encoding, reservation, limits.most_bytes)


async def _arrived(request: web.Request, reservation: admission.Reservation, limits: Limits) -> bytes:
    announced = request.content_length or 0
    if announced > limits.most_bytes:
        raise _too_large(limits.most_bytes)
    _hold(reservation.fits(announced))
    body = bytearray()
    loop = asyncio.get_running_loop()
    end = loop.time() + limits.total_seconds
    try:
        async with asyncio.timeout_at(end) as patience:
            while True:
                patience.reschedule(min(end, loop.time() + limits.idle_seconds))
                piece = await request.content.readany()
                if not piece:
                    break
                if len(body) + len(piece) > limits.most_bytes:
                    raise _too_large(limits.most_bytes)
                _hold(reservation.grow_to(len(body) + len(piece)))
                body += piece
    except TimeoutError as error:
        detail = f"{len(body):,} bytes of the body came in time: send it within {limits.total_seconds:.0f} s without long pauses"
        raise BodyRefusedError(408, "The body took too long", detail, {"Connection": "close"}) from error
    return bytes(body)


async def _unpacked(packed: bytes, encoding: str, reservation: admission.Reservation, most_bytes: int) -> bytes:
    most_bytes = min(most_bytes, reservation.most_bytes - len(packed))
    body = bytearray()
    pieces = unpacking.pieces(encoding, packed)
    try:
        # The first piece is cheap and mostly the only one; more of them would hold up the loop.
        piece = _next(pieces)
        while piece:
            if len(body) + len(piece) > most_bytes:
                raise _too_large(most_bytes, "unpacked ")
            _hold(reservation.grow_to(len(packed) + len(body) + len(piece)))
            body += piece
            piece = await asyncio.to_thread(_next, pieces) if len(piece) == unpacking.PIECE_BYTES else _next(pieces)
    except unpacking.BrokenBodyError as error:
        detail = f"the body is not {encoding}: {error}"
        raise BodyRefusedError(400, "The body can't be unpacked", detail) from error
    return bytes(body)


def _next(pieces: Iterator[bytes]) -> bytes:
    for piece in pieces:
        if piece:
            return piece
    return b""


def _hold(refusal: submissions.Refusal | None) -> None:
    if refusal is not None:
        raise NoRoomError(refusal)


def _too_large(limit: int, unpacked: str = "") -> BodyRefusedError:
    detail = f"the {unpacked}body is larger than {limit:,} bytes: send it in several requests"
    return BodyRefusedError(413, "The body is too large", detail)
