"""A schema registry in a few lines: the one endpoint the sink uses, and the one by which a reader finds a schema."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
from collections.abc import AsyncIterator

from aiohttp import web


class Registry:
    """`failing` is the status of every answer while it is set; with `login`, requests need it."""

    def __init__(self) -> None:
        self.schemas: list[str] = []
        self.subjects: dict[str, list[int]] = {}
        self.asked = 0
        """How often a schema was registered."""
        self.looked_up = 0
        self.failing: tuple[int, str] | None = None
        self.login: tuple[str, str] | None = None
        self.url = ""

    @contextlib.asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Registry]:
        app = web.Application()
        app.router.add_post("/subjects/{subject}/versions", self._register)
        app.router.add_get("/schemas/ids/{number}", self._schema)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _register(self, request: web.Request) -> web.Response:
        self.asked += 1
        if refusal := self._refusal(request):
            return refusal
        text = (await request.json())["schema"]
        json.loads(text)
        if text not in self.schemas:
            self.schemas.append(text)
        number = self.schemas.index(text) + 100
        self.subjects.setdefault(request.match_info["subject"], []).append(number)
        return web.json_response({"id": number})

    async def _schema(self, request: web.Request) -> web.Response:
        self.looked_up += 1
        if refusal := self._refusal(request):
            return refusal
        if not 0 <= int(request.match_info["number"]) - 100 < len(self.schemas):
            return web.json_response({"error_code": 40403, "message": "Schema not found"}, status=404)
        return web.json_response({"schema": self.schemas[int(request.match_info["number"]) - 100]})

    def _refusal(self, request: web.Request) -> web.Response | None:
        if self.failing:
            return web.json_response({"error_code": self.failing[0], "message": self.failing[1]}, status=self.failing[0])
        wanted = base64.b64encode(":".join(self.login).encode()).decode() if self.login else ""
        if wanted and request.headers.get("Authorization") != f"Basic {wanted}":
            return web.json_response({"message": "who are you?"}, status=401)
        return None
