"""The HTTP destination: a batch is the body of one request, as JSON lines or as one JSON array.

Identity is None: an endpoint has no place where landed ranges could be kept with the rows, so a request whose answer is
lost is sent again. What is never sent again is a part that was answered with success.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import enum
import hashlib
from collections.abc import Callable, Sequence

import pyarrow as pa

from penstock.core import addresses, delivery
from penstock.sinks import json_rows, tables
from penstock.sinks.http import answers, client, headers, search

# Of the time a write may take: what was settled is answered before the lane gives up on the whole.
_SHARE_OF_TIME = 0.9

_PREFERRED_ROWS = 500
_PREFERRED_BYTES = 1024 * 1024


class Format(enum.Enum):
    """The value is the word the API uses."""

    NDJSON = "Ndjson"
    JSON_ARRAY = "JsonArray"

    @property
    def content_type(self) -> str:
        return "application/x-ndjson" if self is Format.NDJSON else "application/json"

    def encode(self, rows: pa.Table) -> bytes:
        """The body. Raises pa.ArrowException, ValueError or OverflowError for a value that JSON does not have."""
        return json_rows.lines(rows) if self is Format.NDJSON else json_rows.array(rows)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where rows go and how. `idempotency_header` carries a key made of the rows and of the ranges they come from."""

    url: str
    method: str
    format: Format
    headers: Sequence[headers.Header]
    idempotency_header: str | None
    codes: answers.Codes


class HttpWriter:
    """Sends to one endpoint; a `SinkWriter`. Opens its connections with the first write, at most `concurrency` of them.

    A write ends within `timeout_seconds`. `now` is the wall clock that dates in answers are compared with.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        concurrency: int,
        timeout_seconds: float,
        now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self._endpoint, self._concurrency, self._now = endpoint, concurrency, now
        self._seconds = timeout_seconds * _SHARE_OF_TIME
        self._client: client.Client | None = None

    async def describe(self, lane: str, table: str, schema: pa.Schema) -> delivery.Description:
        """See `SinkWriter`. The endpoint is not asked: there is no request that surely changes nothing."""
        self._headers()
        try:
            self._endpoint.format.encode(schema.empty_table())
        except pa.ArrowException as error:
            raise tables.misconfigured("COLUMN_TYPE", f"JSON can't hold this schema: {error}", "cast it in select") from error
        return delivery.Description(
            identity=delivery.Identity.NONE,
            identity_reason=_reason(self._endpoint.idempotency_header),
            max_concurrency=self._concurrency,
            preferred_rows=_PREFERRED_ROWS,
            preferred_bytes=_PREFERRED_BYTES,
        )

    async def write(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        """See `SinkWriter`. Cancelled, it gives up its request: whether that has landed is then not known."""
        clock = asyncio.get_running_loop().time
        ends, prepared = clock() + self._seconds, self._headers()

        async def attempt(part: delivery.Stretch) -> answers.Refusal | None:
            return await self._attempt(batch, part, prepared, ends - clock())

        return await search.send(batch.rows.num_rows, attempt)

    async def query(self, sql: str) -> pa.Table:
        """See `SinkWriter`."""
        at = client.place(self._endpoint.url)
        raise tables.misconfigured("NOT_QUERYABLE", f"{at} takes rows and gives none back", "ask the system behind it")

    async def close(self) -> None:
        """See `SinkWriter`."""
        if self._client is not None:
            await self._client.close()

    async def _attempt(
        self, batch: delivery.SinkBatch, part: delivery.Stretch, prepared: headers.Prepared, seconds: float
    ) -> answers.Refusal | None:
        endpoint = self._endpoint
        if seconds <= 0:
            raise client.timed_out(client.place(endpoint.url), self._seconds)
        rows = batch.rows.slice(part.start, len(part))
        try:
            body = await asyncio.to_thread(endpoint.format.encode, rows)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            return answers.Refusal(code="NOT_JSON", message=answers.quoted(str(error), ()))
        if endpoint.idempotency_header:
            prepared = prepared.having(endpoint.idempotency_header, _key(batch, body))
        request = client.Request(method=endpoint.method, url=endpoint.url, headers=prepared, body=body, seconds=seconds)
        return answers.refusal(await self._opened().send(request), endpoint.codes, self._now())

    def _headers(self) -> headers.Prepared:
        return headers.prepare(self._endpoint.headers, content_type=self._endpoint.format.content_type)

    def _opened(self) -> client.Client:
        if self._client is None:
            self._client = client.Client(connections=self._concurrency)
        return self._client


def _key(batch: delivery.SinkBatch, body: bytes) -> str:
    """The same for the same rows of the same ranges.

    The ranges alone would not do: a part, or what is left of a batch after a refusal, stands for the ranges of the whole, and
    an endpoint that drops repeated keys would drop rows it has never seen. Nor would the rows: equal ones may come twice.
    """
    identity = repr((batch.lane, batch.table, addresses.merge(batch.ranges)))
    return hashlib.sha256(identity.encode() + b"\0" + body).hexdigest()[:32]


def _reason(idempotency_header: str | None) -> str:
    again = "an endpoint can't tell what has landed, so a request whose answer is lost is sent again"
    if idempotency_header is None:
        return f"{again}; set http.idempotencyHeader if the endpoint drops repeated requests"
    return f"{again}; http.idempotencyHeader ({idempotency_header}) lets the endpoint drop the repeat"
