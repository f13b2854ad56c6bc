"""One request to one endpoint: sent within its time, its answer read only as far as it is needed.

No redirects, no cookies, no proxies from the environment, no decompression: what comes back is a status and, for messages,
the first few kilobytes. The address is shown without path, query and user, any of which may be a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ssl
import urllib.parse

import aiohttp

from penstock.sinks import port, tables
from penstock.sinks.http import answers
from penstock.sinks.http import headers as http_headers

_CONNECT_SECONDS = 10.0
_BODY_BYTES = 8 * 1024
_BODY_SECONDS = 1.0
# Servers commonly close what is idle for 5 s; a request that meets the close looks like one whose answer was lost.
_IDLE_SECONDS = 4.0

# The first that fits; all of them are outages.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientSSLError, "TLS"),
    (ssl.SSLError, "TLS"),
    (aiohttp.ClientConnectorError, "UNREACHABLE"),
    (aiohttp.ConnectionTimeoutError, "UNREACHABLE"),
    (aiohttp.ClientResponseError, "BAD_ANSWER"),
    (aiohttp.ClientPayloadError, "BAD_ANSWER"),
    (Exception, "NO_ANSWER"),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent; it is answered, or given up `seconds` from now."""

    method: str
    url: str
    headers: http_headers.Prepared
    body: bytes
    seconds: float


class Client:
    """A pool of at most `connections` connections. Created in the loop it is used in; nothing is called after `close`."""

    def __init__(self, *, connections: int) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=_IDLE_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )

    async def send(self, request: Request) -> answers.Answer:
        """The answer, whatever its status. Raises SinkError: outage without an answer, config for an impossible address."""
        at, secrets = place(request.url), request.headers.secrets
        try:
            async with self._session.request(
                request.method,
                request.url,
                data=request.body,
                headers=request.headers.fields,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=request.seconds, sock_connect=_CONNECT_SECONDS),
            ) as response:
                body = await _beginning(response)
                text = answers.quoted(body.decode("utf-8", "replace"), secrets)
                return answers.Answer(place=at, status=response.status, headers=response.headers, body=text)
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise _impossible(at, "no request can go to this address") from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError):
                raise timed_out(at, request.seconds) from error
            raise _unanswered(at, error, answers.quoted(_words(error), [*secrets, request.url])) from error
        except ValueError as error:
            # A port that can't be, or credentials both in the address and in a header.
            raise _impossible(at, answers.quoted(str(error), [*secrets, request.url])) from error

    async def close(self) -> None:
        await self._session.close()


def place(url: str) -> str:
    """Scheme, host and port of `url`, for messages."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "http.url"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def timed_out(at: str, seconds: float) -> port.SinkError:
    """No answer in time: the rows may be there all the same."""
    return tables.unavailable(
        "TIMEOUT", f"{at} gave no answer within {max(seconds, 0.0):.1f} s; the rows may have landed and are sent again"
    )


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The first bytes of the body. A connection with more to come is closed: reading on could take for ever."""
    found = bytearray()
    # The status is known: a body that fails or dribbles changes nothing about it.
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(_BODY_SECONDS):
            while len(found) < _BODY_BYTES and (piece := await response.content.read(_BODY_BYTES - len(found))):
                found += piece
    if not response.content.at_eof():
        response.close()
    return bytes(found)


def _impossible(at: str, why: str) -> port.SinkError:
    return tables.misconfigured("URL", f"{at}: {why}", "check http.url and http.headers")


def _unanswered(at: str, error: Exception, said: str) -> port.SinkError:
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    return tables.unavailable(code, f"{at}: {type(error).__name__}: {said}".removesuffix(": "))


def _words(error: Exception) -> str:
    """What the client says of it, without the address."""
    if isinstance(error, aiohttp.ClientResponseError):
        return error.message
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return f"no connection within {_CONNECT_SECONDS:.0f} s"
    return str(error)
