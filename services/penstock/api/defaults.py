"""What is right for each type of sink when nothing is said.

These are not defaults of the API: an object keeps what was written, and a later version may choose better.

ClickHouse likes few, large inserts. Postgres pays by the row and holds locks while it works. Kafka is made for small
batches. HTTP endpoints often refuse more than 1 MiB. A file should be worth opening. DuckDB is one file with one writer:
each write is a transaction with a flush to disk (some 10 ms), and its columnar storage fills row groups of 122,880 rows, so
that large writes cost little more than small ones; one second keeps what `penstock run` shows close to what was sent, and
64 MiB is what a laptop can spare.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Final

from penstock.api.model.sinks import SinkType

LINGER_LIMIT_PERCENT: Final = 75
"""Of the objective: how long a batch may wait. The rest is for the write itself."""
LINGER_START_PERCENT: Final = 25
"""Of the objective: how long a batch waits before anything has been measured."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BatchingDefaults:
    """Objective and limits of a type of sink, and the batch to start with."""

    latency_milliseconds: int
    limit_rows: int
    limit_bytes: int
    limit_concurrency: int
    start_rows: int
    start_concurrency: int


def _defaults(latency: int, rows: int, mebibytes: int, slots: int, *, start: int, start_slots: int = 2) -> BatchingDefaults:
    return BatchingDefaults(
        latency_milliseconds=latency,
        limit_rows=rows,
        limit_bytes=mebibytes << 20,
        limit_concurrency=slots,
        start_rows=start,
        start_concurrency=start_slots,
    )


BATCHING: Final[Mapping[SinkType, BatchingDefaults]] = types.MappingProxyType(
    {
        "ClickHouse": _defaults(2_000, 100_000, 16, 16, start=5_000),
        "Postgres": _defaults(1_000, 10_000, 8, 8, start=1_000),
        "Kafka": _defaults(250, 10_000, 1, 8, start=1_000),
        "HTTP": _defaults(2_000, 500, 1, 8, start=100),
        "Files": _defaults(60_000, 500_000, 64, 4, start=100_000, start_slots=1),
        "DuckDB": _defaults(1_000, 100_000, 64, 1, start=20_000, start_slots=1),
        "Custom": _defaults(2_000, 10_000, 8, 8, start=1_000),
    }
)
