"""The `SinkWriter` port: one destination behind the gRPC server."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa

from penstock.core import delivery, results

Identity = delivery.Identity
Description = delivery.Description
Watermark = delivery.Watermark
SinkBatch = delivery.SinkBatch
WriteResult = delivery.WriteResult


class SinkError(Exception):
    """A write or description that failed as a whole; nothing is known to have been written."""

    def __init__(self, failure: results.Failure) -> None:
        super().__init__(f"{failure.code}: {failure.message}")
        self.failure = failure


class SinkWriter(Protocol):
    """One destination. `write` may run concurrently up to `Description.max_concurrency`; nothing is called after `close`.

    A call that is cancelled while it waits for its turn leaves nothing behind; once it has begun it ends, one way or the
    other, before the cancellation goes on.
    """

    async def describe(self, lane: str, table: str, schema: pa.Schema) -> Description:
        """Check (and where the table policy says so create) the table. Raises SinkError: config or outage."""

    async def write(self, batch: SinkBatch) -> WriteResult:
        """Return when the rows are durable. Raises SinkError; a row the store refuses is in the result, not an exception.

        A range that has landed before must not land again; the answer says which have, and nothing else is written.
        """

    async def query(self, sql: str) -> pa.Table:
        """Read-only SQL over what has landed; only one-machine stores can. Raises SinkError (config) elsewhere."""

    async def close(self) -> None: ...
