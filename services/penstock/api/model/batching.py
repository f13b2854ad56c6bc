"""`spec.sinks[].batching`: when a batch is full, and what Penstock may change about that by itself.

What depends on the type of the sink has no default here: it is worked out in `lower`, so that a better default reaches
objects that never asked for the old one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from penstock.api.model import base

Milliseconds = Annotated[int, base.whole(1, 3_600_000)]
Rows = Annotated[int, base.whole(1, 10_000_000)]
Slots = Annotated[int, base.whole(1, 256)]


class Objective(base.Model):
    """What the batches are sized for: the time from accepted to landed."""

    latency_milliseconds: Annotated[int, base.whole(10, 3_600_000)] | None = None
    """How long an event may take from accepted to landed. Omitted, by type: ClickHouse, HTTP and Custom 2000, Postgres and
    DuckDB 1000, Kafka 250, Files 60000."""
    percentile: Annotated[int, base.whole(50, 99)] = 99
    """How many of 100 events must keep it."""
    prefer: Literal["FewerBatches", "LowerLatency"] = "FewerBatches"
    """What to do with room inside the objective: write less often, or land earlier."""


class Limits(base.Model):
    """What no batch and no lane ever exceeds, in every mode."""

    rows: Rows | None = None
    """Rows of a batch. Omitted, by type: Files 500000, ClickHouse and DuckDB 100000, Postgres, Kafka and Custom 10000,
    HTTP 500."""
    bytes: Annotated[int, base.whole(4096, 1 << 30)] | None = None
    """Bytes of a batch's rows in memory. Omitted, by type: Files and DuckDB 64 MiB, ClickHouse 16 MiB, Postgres and Custom
    8 MiB, Kafka and HTTP 1 MiB."""
    linger_milliseconds: Milliseconds | None = None
    """How long a batch may wait for more rows. Omitted: three quarters of objective.latencyMilliseconds."""
    concurrency: Slots | None = None
    """Writes in flight, of the whole lane. Omitted, by type: ClickHouse 16, Postgres, Kafka, HTTP and Custom 8, Files 4,
    DuckDB 1."""


class Static(base.Model):
    """The fixed values of mode Static; in the other modes, what a lane starts with before it has measured anything."""

    rows: Rows | None = None
    """Rows at which a batch is written. Omitted, by type, but never above limits.rows: Files 100000, DuckDB 20000,
    ClickHouse 5000, Postgres, Kafka and Custom 1000, HTTP 100."""
    linger_milliseconds: Milliseconds | None = None
    """How long a batch waits for more rows. Omitted: a quarter of objective.latencyMilliseconds, but never above
    limits.lingerMilliseconds."""
    concurrency: Slots | None = None
    """Writes in flight, of the whole lane. Omitted: 2, for Files and DuckDB 1, but never above limits.concurrency."""


class Batching(base.Model):
    """How rows become batches."""

    mode: Literal["Static", "Observe", "Recommend", "Auto"] = "Auto"
    """Static: the values of `static`. Observe: the same, and measure. Recommend: and say what would be better. Auto: do it."""
    objective: Objective = Objective()
    """What the batches are sized for."""
    limits: Limits = Limits()
    """What is never exceeded."""
    static: Static = Static()
    """Fixed values, and those to start with."""
