"""A schema registry, over the HTTP interface that Confluent's has and others copy: what a schema's number is.

Asked once for each topic and schema; the answer never changes. Registering one that is there already gives its number, so
that asking again does no harm. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from penstock.core import results
from penstock.sinks import port, tables

_SECONDS = 10.0
_ANSWER_BYTES = 64 << 10
_QUOTED = 500
_KIND = "application/vnd.schemaregistry.v1+json"
_REMEDIES: Mapping[int, str] = {
    401: "renew the secret of kafka.format.registry.authentication",
    403: "give this user the right to register the subject, or register the schema by hand",
    409: "the subject's compatibility forbids this schema: change select, or the subject's compatibility",
    422: "the registry refuses the schema itself: change the columns in select",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """`user` and `password` read what they are at this moment; both None where none are asked for."""

    url: str
    user: Callable[[], str] | None = None
    password: Callable[[], str] | None = None

    async def number(self, subject: str, schema: Mapping[str, Any]) -> int:
        """The schema's number, registered under `subject` if need be. Raises SinkError: config or outage."""
        place = f"{_shown(self.url)}: subject {subject}"
        url = f"{self.url.rstrip('/')}/subjects/{urllib.parse.quote(subject, safe='')}/versions"
        body = json.dumps({"schema": json.dumps(schema), "schemaType": "AVRO"}).encode()
        try:
            status, answer = await self._posted(url, body)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            said = f"{type(error).__name__}: {error}".removesuffix(": ").replace(self.url, _shown(self.url))
            raise tables.unavailable("REGISTRY_UNAVAILABLE", f"schema registry {place}: {said}") from error
        if status != 200:
            raise _refused(place, status, answer)
        return _number(place, answer)

    async def _posted(self, url: str, body: bytes) -> tuple[int, bytes]:
        headers = {"Content-Type": _KIND, "Accept": _KIND}
        if self.user and self.password:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{self.user()}:{self.password()}".encode()).decode()
        async with (
            asyncio.timeout(_SECONDS),
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            found = bytearray()
            while len(found) < _ANSWER_BYTES and (piece := await response.content.read(_ANSWER_BYTES - len(found))):
                found += piece
            return response.status, bytes(found)


def _number(place: str, answer: bytes) -> int:
    try:
        found = json.loads(answer)["id"]
    except (ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, int) or not 0 <= found < 1 << 31:
        raise tables.misconfigured(
            "REGISTRY", f"schema registry {place}: the answer has no number: {_words(answer)}", "check kafka.format.registry.url"
        )
    return found


def _refused(place: str, status: int, answer: bytes) -> port.SinkError:
    message = f"schema registry {place}: answered {status}: {_words(answer)}"
    is_outage = status in (401, 408, 429) or status >= 500
    return port.SinkError(
        results.Failure(
            result_class=results.ResultClass.OUTAGE if is_outage else results.ResultClass.CONFIG,
            code="CREDENTIALS_REJECTED" if status == 401 else f"REGISTRY_{status}",
            message=message,
            remedy=_REMEDIES.get(status, "" if is_outage else "check kafka.format.registry"),
        )
    )


def _words(answer: bytes) -> str:
    """The registry's own message, else the start of what it said."""
    try:
        told = str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        told = answer.decode("utf-8", "replace")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in told).split())[:_QUOTED]


def _shown(url: str) -> str:
    """Without path, query and user, any of which may be a secret."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
