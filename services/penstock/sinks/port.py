"""The `SinkWriter` port: one destination behind the gRPC server."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from penstock.core import addresses, results


class Identity(enum.Enum):
    """What keeps a retried range from landing twice; chosen per table (docs/delivery.md)."""

    NONE = "None"
    TRANSACTIONAL = "Transactional"
    TOKEN = "Token"  # noqa: S105 - an identity, not a credential
    MANIFEST = "Manifest"
    ROW_KEY = "RowKey"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What holds on one table. `max_concurrency` 0 means no bound of the sink's own."""

    identity: Identity
    identity_reason: str
    max_concurrency: int
    preferred_rows: int
    preferred_bytes: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    log_id: str
    partition: int
    position: addresses.Position


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SinkBatch:
    """One piece of a batch: rows of one table, made from `ranges`, in address order."""

    lane: str
    table: str
    ranges: Sequence[addresses.Range]
    token: str
    finished_below: Sequence[Watermark]
    key_columns: Sequence[str]
    rows: pa.Table


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """What happened. Exactly one holds: rows written; `already_landed` or `rejected` not empty and nothing written."""

    written: int = 0
    already_landed: Sequence[addresses.Range] = ()
    rejected: Sequence[results.RejectedRow] = ()


class SinkError(Exception):
    """A write or description that failed as a whole; nothing is known to have been written."""

    def __init__(self, failure: results.Failure) -> None:
        super().__init__(f"{failure.code}: {failure.message}")
        self.failure = failure


class SinkWriter(Protocol):
    """One destination. `write` may run concurrently up to `Description.max_concurrency`; nothing is called after `close`."""

    async def describe(self, lane: str, table: str, schema: pa.Schema) -> Description:
        """Check (and where the table policy says so create) the table. Raises SinkError: config or outage."""

    async def write(self, batch: SinkBatch) -> WriteResult:
        """Return when the rows are durable. Raises SinkError; a row the store refuses is in the result, not an exception.

        A range that has landed before must not land again; the answer says which have, and nothing else is written.
        """

    async def query(self, sql: str) -> pa.Table:
        """Read-only SQL over what has landed; only one-machine stores can. Raises SinkError (config) elsewhere."""

    async def close(self) -> None: ...
