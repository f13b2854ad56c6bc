"""An HTTP endpoint of somebody else's, in a thread of its own: takes rows, stalls, refuses, or answers too late."""

from __future__ import annotations

import asyncio
import enum
import json
import threading
from typing import Any

from aiohttp import web

from e2e.chaos import events
from e2e.checker import found, stores


class Mood(enum.Enum):
    TAKES = "takes"
    STALLS = "stalls"
    REFUSES = "refuses"
    LATE = "late"
    """Takes the rows at once and says so after the caller's patience is over."""


class Hook:
    """Use as a context. `refuses` is the share of events whose rows are answered with 422, as long as it lives."""

    def __init__(self, *, refuses: float = 0.0, late_seconds: float = 3.0) -> None:
        self.mood = Mood.TAKES
        self._refuses, self._late_seconds = refuses, late_seconds
        self._rows: list[dict[str, Any]] = []
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="hook", daemon=True)
        self.url = ""

    def __enter__(self) -> Hook:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def found(self) -> found.Store:
        """What has landed here; it promises to drop nothing that comes twice."""
        return found.Store(rows=stores.rows(self._rows, events.COLUMNS, "item_no"), exactly_once=False)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/rows"
        self._ready.set()
        await self._end.wait()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        rows = [json.loads(line) for line in (await request.read()).splitlines()]
        while self.mood is Mood.STALLS:  # noqa: ASYNC110 - another thread changes it
            await asyncio.sleep(0.1)
        if self.mood is Mood.REFUSES:
            return web.Response(status=503, text="not now")
        if any(events.is_bad(row["id"], self._refuses) for row in rows):
            return web.Response(status=422, text="not welcome")
        self._rows.extend(rows)
        if self.mood is Mood.LATE:
            await asyncio.sleep(self._late_seconds)
        return web.Response(status=202)
