"""The optional validating webhook: what `SpecValid=False` would say of an object is said when it is applied, and none is stored.

It never guards alone: the cluster goes on without it (`failurePolicy: Ignore`), and the operator looks at everything again. So it
refuses only what is certain of the object itself, and lets through what it can't tell in time, or at all.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Any, Final

import structlog
from aiohttp import web

from penstock.core import errors
from penstock_operator import settings, snapshot
from penstock_operator.edge import sql
from penstock_operator.planning import acceptance

PATH: Final = "/validate"
PATIENCE_SECONDS: Final = 7.0
"""Below the cluster's own patience, which is ten seconds in the chart."""
_RELOAD_SECONDS: Final = 60.0
_MOST_BYTES: Final = 8 << 20
_SOME_LOG: Final = {"type": "Kafka", "kafka": {"bootstrapServers": ["log:9092"]}}
"""In place of the log that was chosen when an object was first accepted, which it need not name."""
_LATER: Final = "the expressions are still being compiled: the condition SpecValid tells what came of it"

_log = structlog.get_logger()


class Webhook:
    """`start` once, `close` once. `address` is host:port; port 0 takes a free one."""

    def __init__(self, told: settings.Settings, checker: sql.Checker, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._told, self._checker, self._patience = told, checker, patience_seconds
        self._folder = told.webhook_certificate
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._reloading: asyncio.Task[None] | None = None
        self.address = told.webhook_address

    async def start(self) -> None:
        """Raises OSError, which a certificate that can't be used is too."""
        self._load()
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_post(PATH, self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        host, _, port = self.address.rpartition(":")
        site = web.TCPSite(self._runner, host.strip("[]"), int(port), ssl_context=self._tls)
        await site.start()
        self.address = f"{host}:{self._runner.addresses[0][1]}"
        self._reloading = asyncio.create_task(self._reload())

    def _load(self) -> None:
        self._tls.load_cert_chain(self._folder / "tls.crt", self._folder / "tls.key")

    async def _reload(self) -> None:
        """Certificates are renewed while the operator runs; connections that are made from then on are shown the new one."""
        while True:
            await asyncio.sleep(_RELOAD_SECONDS)
            try:
                await asyncio.to_thread(self._load)
            except OSError as error:
                _log.warning("certificate_kept", folder=str(self._folder), error=str(error))

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            asked = (await request.json())["request"]
            said = {"uid": asked["uid"], **await self.verdict(asked)}
        except (ValueError, KeyError, TypeError) as error:
            raise web.HTTPBadRequest(text=f"no AdmissionReview: {error!r}") from error
        return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": said})

    async def verdict(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The answer to an AdmissionReview's request, without its uid."""
        if asked.get("operation") not in ("CREATE", "UPDATE"):
            return {"allowed": True}
        described = asked["object"]
        metadata = {"name": "pipeline", **described["metadata"], "namespace": asked["namespace"]}
        named = {**described, "metadata": metadata}
        if found := acceptance.problems_of(named, self._log_for(named, is_new=asked["operation"] == "CREATE")):
            return _denied(found)
        if self._checker.is_busy:
            return {"allowed": True, "warnings": [_LATER]}
        try:
            async with asyncio.timeout(self._patience):
                compiled = await self._checker.compiled(named)
        except TimeoutError:
            return {"allowed": True, "warnings": [_LATER]}
        return _denied(compiled) if compiled else {"allowed": True}

    def _log_for(self, described: snapshot.Manifest, *, is_new: bool) -> dict[str, Any] | None:
        own = described["spec"].get("log") or {}
        if own.get("type"):
            return dict(own)
        default = self._told.default_log
        if default is None and is_new:
            return dict(own) or None
        return {**(_SOME_LOG if default is None else default.model_dump(by_alias=True, exclude_none=True, mode="json")), **own}

    async def close(self) -> None:
        """Finish what is being answered."""
        if self._reloading:
            self._reloading.cancel()
            served = self._runner.server
            open_ = [one.transport for one in served.connections if one.transport] if served else []
            await self._runner.cleanup()
            for transport in open_:
                # By itself it would wait until the API server has answered the goodbye of TLS.
                transport.abort()


def _denied(found: Sequence[errors.Problem]) -> dict[str, Any]:
    told = [one.sentence for one in found]
    # kubectl prints the causes alone, each with its field before it.
    causes = [
        {"reason": "FieldValueInvalid", "field": one.field, "message": text.removeprefix(f"{one.field}: ")}
        for one, text in zip(found, told, strict=True)
    ]
    message = "; ".join(told)
    status = {"code": 422, "reason": "Invalid", "message": message[:8192], "details": {"causes": causes[:64]}}
    return {"allowed": False, "status": status}
