"""A schema registry, over the HTTP interface that Confluent's has and others copy.

Asked once for each schema; the answers never change. Registering one that is there already gives its number, so that asking
again does no harm. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import ssl
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from penstock.tls import client as tls_client

_SECONDS = 10.0
_ANSWER_BYTES = 4 << 20
_QUOTED = 500
_KIND = "application/vnd.schemaregistry.v1+json"
_WAIT = (401, 408, 429)


class RegistryError(Exception):
    """The registry gave no answer that serves; `status` is that of its answer, None where there was none."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_outage(self) -> bool:
        """Whether the same question may be answered later. Credentials are renewed while processes run."""
        return self.status is None or self.status in _WAIT or self.status >= 500


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """`user`, `password` and `tls` read what they are at this moment; None where none are asked for, and for the system's trust.

    What the readers raise comes out of the questions, but for CertificateError, which is a RegistryError here.
    """

    url: str
    user: Callable[[], str] | None = None
    password: Callable[[], str] | None = None
    tls: Callable[[], ssl.SSLContext] | None = None

    async def number(self, subject: str, schema: Mapping[str, Any]) -> int:
        """The schema's number, registered under `subject` if need be. Raises RegistryError."""
        body = json.dumps({"schema": json.dumps(schema), "schemaType": "AVRO"}).encode()
        path = f"/subjects/{urllib.parse.quote(subject, safe='')}/versions"
        place = f"{self.shown}: subject {subject}"
        found = _json(await self._asked(place, path, body)).get("id")
        if not isinstance(found, int) or not 0 <= found < 1 << 31:
            raise RegistryError(f"schema registry {place}: the answer has no number", status=200)
        return found

    async def schema(self, number: int) -> Mapping[str, Any]:
        """What the registry knows of a number: `schema`, `schemaType` unless it is AVRO, `references`. Raises RegistryError."""
        place = f"{self.shown}: schema {number}"
        found = _json(await self._asked(place, f"/schemas/ids/{number}"))
        if not isinstance(found.get("schema"), str):
            raise RegistryError(f"schema registry {place}: the answer has no schema", status=200)
        return found

    @property
    def shown(self) -> str:
        """Its address without path, query and user, any of which may be a secret."""
        parts = urllib.parse.urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    async def _asked(self, place: str, path: str, body: bytes | None = None) -> bytes:
        try:
            status, answer = await self._answer(f"{self.url.rstrip('/')}{path}", body)
        except tls_client.CertificateError as error:
            raise RegistryError(f"schema registry {place}: {error}") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            said = f"{type(error).__name__}: {error}".removesuffix(": ").replace(self.url, self.shown)
            raise RegistryError(f"schema registry {place}: {said}") from error
        if status != 200:
            raise RegistryError(f"schema registry {place}: answered {status}: {_words(answer)}", status)
        return answer

    async def _answer(self, url: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"Content-Type": _KIND, "Accept": _KIND}
        if self.user and self.password:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{self.user()}:{self.password()}".encode()).decode()
        async with (
            asyncio.timeout(_SECONDS),
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.request(
                "GET" if body is None else "POST",
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                ssl=self.tls() if self.tls else True,
            ) as response,
        ):
            found = bytearray()
            while len(found) < _ANSWER_BYTES and (piece := await response.content.read(_ANSWER_BYTES - len(found))):
                found += piece
            return response.status, bytes(found)


def _json(answer: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def _words(answer: bytes) -> str:
    """The registry's own message, else the start of what it said."""
    told = str(_json(answer).get("message") or answer.decode("utf-8", "replace"))
    return " ".join("".join(letter if letter.isprintable() else " " for letter in told).split())[:_QUOTED]
