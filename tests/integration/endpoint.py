"""An HTTP endpoint of somebody else's: takes rows, and misbehaves as it is told. And one that speaks no HTTP worth the name."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web

Row = dict[str, Any]
Behaviour = Callable[["Request"], Awaitable[web.StreamResponse | None]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What came in; `http` answers it."""

    method: str
    headers: Mapping[str, str]
    rows: Sequence[Row]
    size: int
    http: web.Request


class Endpoint:
    """Atomic: a request with a row that `is_bad` names, or of more than `most_bytes`, leaves nothing behind.

    `plan` holds what the next requests meet instead; None from a behaviour goes on to the usual answer. With `drops_repeats`
    set to a header's name, rows under a key it has seen are answered with success and not taken again.
    """

    def __init__(self) -> None:
        self.landed: list[Row] = []
        self.requests: list[Request] = []
        self.plan: deque[Behaviour] = deque()
        self.is_bad: Callable[[Row], bool] = lambda _: False
        self.most_bytes = 64 * 1024 * 1024
        self.drops_repeats: str | None = None
        self.under_way = self.most_under_way = 0
        self._keys: set[str] = set()
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/rows?token=in-the-address"

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Endpoint]:
        """Listen, at the same port each time."""
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = runner.addresses[0][1]
        try:
            yield self
        finally:
            await runner.cleanup()

    def counts(self, column: str = "id") -> Counter[Any]:
        return Counter(row[column] for row in self.landed)

    def take(self, rows: Iterable[Row]) -> None:
        self.landed.extend(rows)

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            body = await http.read()
            request = Request(
                method=http.method, headers=http.headers, rows=_rows(http.content_type, body), size=len(body), http=http
            )
            self.requests.append(request)
            told = await self.plan.popleft()(request) if self.plan else None
            return told or self._usual(request)
        finally:
            self.under_way -= 1

    def _usual(self, request: Request) -> web.Response:
        if request.size > self.most_bytes:
            return web.Response(status=413, text=f"{request.size} bytes are more than {self.most_bytes}")
        bad = next((row for row in request.rows if self.is_bad(row)), None)
        if bad is not None:
            return web.json_response({"error": f"row {bad['id']} is not welcome"}, status=422)
        key = request.headers.get(self.drops_repeats or "", "")
        if not key or key not in self._keys:
            self.take(request.rows)
        self._keys.add(key)
        return web.Response(status=202)


def _rows(content_type: str, body: bytes) -> list[Row]:
    if content_type == "application/json":
        return list(json.loads(body))
    assert body.endswith(b"\n")
    return [json.loads(line) for line in body.splitlines()]


def answers(status: int, text: str = "", **headers: str) -> Behaviour:
    """Nothing is taken, and this is said."""

    async def behave(_: Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return behave


class Endless:
    """A body that ends when nobody listens any more."""

    def __init__(self, status: int) -> None:
        self._status = status
        self.cut = asyncio.Event()
        self.sent = 0

    async def __call__(self, request: Request) -> web.StreamResponse:
        response = web.StreamResponse(status=self._status)
        await response.prepare(request.http)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"x" * 65_536)
                self.sent += 65_536
        self.cut.set()
        return response


async def hang(_: Request) -> web.StreamResponse | None:
    """Never an answer."""
    await asyncio.Event().wait()
    return None


@contextlib.asynccontextmanager
async def canned(answer: bytes, *, dribble: bytes = b"") -> AsyncIterator[str]:
    """The URL of a server that sends `answer` to whoever connects, then `dribble` until the other end is tired of it."""

    handling: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handling.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            while dribble:
                writer.write(dribble)
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        await asyncio.gather(*(task for task in handling if task))
