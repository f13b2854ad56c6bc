"""What a lane hands to a sink, and what the sink answers.

Both ends of `penstock.v1.Sink` speak in these values: the batcher's client and the server in front of a store. They stand
in core because neither end may import the other.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.core import addresses, results

if TYPE_CHECKING:
    import pyarrow as pa

LOG_COLUMN, PARTITION_COLUMN, OFFSET_COLUMN = "_penstock_log", "_penstock_partition", "_penstock_offset"
ORDINAL_COLUMN, ITEM_COLUMN = "_penstock_ordinal", "_penstock_item"
ADDRESS_COLUMNS = (LOG_COLUMN, PARTITION_COLUMN, OFFSET_COLUMN, ORDINAL_COLUMN, ITEM_COLUMN)
"""Where each row stands in the log, after its own columns, for sinks that ask for it: text, int32, int64, int32, int32."""
KEY_COLUMN = "_penstock_key"
TOMBSTONE_COLUMN = "_penstock_tombstone"


def header_column(index: int) -> str:
    """The column with the value of a record's header."""
    return f"_penstock_header_{index}"


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
    """Everything below `position` is finished for good, in every table of the lane."""

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


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Stretch:
    """Rows `start` up to but not including `end` of one write, by index; never empty."""

    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WriteResult:
    """What happened. Exactly one holds:

    - `written` alone: all rows are durable.
    - `already_landed` is not empty: nothing was written.
    - `written_rows` or `rejected` is not empty: the rows of `written_rows` are durable (`written` is how many), those of
      `rejected` are refused, and every other row is as it was, to be sent again. A store without transactions answers so;
      one with them leaves `written_rows` empty.
    """

    written: int = 0
    already_landed: Sequence[addresses.Range] = ()
    rejected: Sequence[results.RejectedRow] = ()
    written_rows: Sequence[Stretch] = ()


class WriteFailedError(Exception):
    """A description or write that failed as a whole. `timed_out`: its deadline passed. `may_land`: all of it had left and no
    answer came, so it may have landed, or do so yet. `elsewhere`: only the endpoint that was asked is at fault as far as is
    known; there is another one."""

    def __init__(self, failure: results.Failure, *, timed_out: bool = False, may_land: bool = False) -> None:
        super().__init__(f"{failure.code}: {failure.message}")
        self.failure = failure
        self.timed_out, self.may_land = timed_out, may_land
        self.elsewhere = False
