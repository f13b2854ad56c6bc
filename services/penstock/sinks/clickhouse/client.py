"""Requests to one server's HTTP interface, each on a connection of the pool and answered within its time."""

from __future__ import annotations

import dataclasses
import json
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import aiohttp

from penstock.core import results
from penstock.sinks import port, tables
from penstock.sinks.clickhouse import codes, credentials, pool
from penstock.sinks.http import answers

_CONNECT_SECONDS = 10.0
_ANSWER_BYTES = 8 * 1024 * 1024
_MESSAGE_CHARACTERS = 600
_KEEP_ALIVE = re.compile(r"timeout=(\d{1,4})")
_LONGEST_IDLE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The start of a response."""

    status: int
    code: str
    body: bytes


class Client:
    """Speaks with `url`. Nothing is called after `close`."""

    def __init__(self, url: str, who: credentials.Credentials, connections: pool.Pool) -> None:
        self._url, self._who, self._pool = url, who, connections
        self.place = _place(url)

    async def rows(self, sql: str, *, seconds: float) -> list[dict[str, Any]]:
        """What a SELECT finds. Raises SinkError."""
        answer = await self._send({"default_format": "JSONEachRow"}, sql.encode(), {}, seconds)
        return [json.loads(line) for line in answer.body.splitlines() if line]

    async def command(self, sql: str, *, seconds: float) -> None:
        """A statement without an answer. Raises SinkError."""
        await self._send({}, sql.encode(), {}, seconds)

    async def insert(self, statement: str, body: bytes, settings: Mapping[str, str], *, seconds: float) -> None:
        """Return when the server has the rows of `body`, a stream compressed with zstd. Raises SinkError."""
        told = {"Content-Encoding": "zstd", "Content-Type": "application/octet-stream"}
        await self._send({"query": statement, **settings}, body, told, seconds)

    async def close(self) -> None:
        await self._pool.close()

    async def _send(self, parameters: Mapping[str, str], body: bytes, headers: Mapping[str, str], seconds: float) -> Answer:
        who = self._who.read()
        async with self._pool.connection() as connection:
            answer = await self._asked(connection, parameters, body, {**headers, **who.headers}, who, seconds)
        # An error after the first byte of the answer comes with status 200, and with its code in a header or nowhere.
        if answer.status != 200 or answer.code:
            raise port.SinkError(self._failure(answer, who))
        return answer

    async def _asked(
        self,
        connection: pool.Connection,
        parameters: Mapping[str, str],
        body: bytes,
        headers: Mapping[str, str],
        who: credentials.Prepared,
        seconds: float,
    ) -> Answer:
        try:
            async with connection.session.post(
                self._url,
                params=parameters,
                data=body,
                headers={"User-Agent": "penstock", "Accept-Encoding": "identity", **headers},
                allow_redirects=False,
                ssl=who.tls,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS),
            ) as response:
                said = await response.content.read(_ANSWER_BYTES)
                while len(said) < _ANSWER_BYTES and (more := await response.content.read(_ANSWER_BYTES - len(said))):
                    said += more
                _note_keep_alive(connection, response.headers.get("Keep-Alive", ""))
                code = response.headers.get("X-ClickHouse-Exception-Code", "")
                return Answer(status=response.status, code=code, body=said)
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise tables.misconfigured(
                "URL", f"{self.place}: no request can go to this address", "mend clickHouse.url"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unanswered(error, who, seconds) from error

    def _unanswered(self, error: Exception, who: credentials.Prepared, seconds: float) -> port.SinkError:
        if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
            message = f"{self.place} gave no answer within {seconds:.1f} s; the rows may have landed and are sent again"
            return tables.unavailable("TIMEOUT", message)
        tls = isinstance(error, aiohttp.ClientSSLError)
        reached = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        code = "TLS" if tls else "NO_ANSWER" if reached else "UNREACHABLE"
        said = answers.quoted(str(error), [*who.secrets, self._url])
        return tables.unavailable(code, f"{self.place}: {type(error).__name__}: {said}")

    def _failure(self, answer: Answer, who: credentials.Prepared) -> results.Failure:
        text = answer.body[: _MESSAGE_CHARACTERS * 4].decode("utf-8", "replace")
        said = answers.quoted(text, [secret for secret in who.secrets if secret])
        code = codes.code_of(answer.code, text)
        message = f"{self.place} answered {answer.status}: {said}"
        return codes.failure(code, message) if code else codes.failure_of_status(answer.status, message)


def _note_keep_alive(connection: pool.Connection, header: str) -> None:
    """Servers say how long they keep a connection; one second less leaves time for the way."""
    if told := _KEEP_ALIVE.search(header):
        connection.idle_seconds = min(max(0.0, float(told[1]) - 1.0), _LONGEST_IDLE_SECONDS)


def _place(url: str) -> str:
    """Scheme, host and port, for messages."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "clickHouse.url"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
