"""`spec.sinks`: where rows go. Each sink has a lane of its own, with its own offsets, tuning and breaker."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from penstock.api.model import base, stores
from penstock.api.model.batching import Batching

SinkType = Literal["ClickHouse", "Postgres", "Kafka", "Files", "DuckDB", "HTTP", "Custom"]


class Retry(base.Model):
    """How a write is tried again. An outage is retried for ever; it never costs an event."""

    initial_backoff_milliseconds: Annotated[int, base.whole(1, 600_000)] = 200
    """The pause before the first retry; it doubles from there."""
    max_backoff_milliseconds: Annotated[int, base.whole(1, 600_000)] = 30_000
    """The longest pause between retries."""
    unclassified_attempts: Annotated[int, base.whole(1, 100)] = 8
    """How often a write is tried whose failure no rule knows, before the row at fault is looked for."""


class CircuitBreaker(base.Model):
    """When a lane stops calling a failing store, and how it finds out that the store is back."""

    mode: Literal["Auto", "ForcedOpen", "MetricsOnly", "Disabled"] = "Auto"
    """Auto: open and close by the rules below. ForcedOpen: write nothing. MetricsOnly: only count. Disabled: neither."""
    minimum_attempts: Annotated[int, base.whole(1, 1000)] = 3
    """Writes in the window before failurePercent counts."""
    consecutive_failures: Annotated[int, base.whole(1, 1000)] = 5
    """Failures in a row that open it, however few writes there are."""
    failure_percent: base.Percent = 60
    """Failed writes of 100 in the window that open it."""
    window_seconds: Annotated[int, base.whole(1, 3600)] = 10
    """The window."""
    open_seconds: Annotated[int, base.whole(1, 3600)] = 30
    """The longest it stays open before the store is tried again; the first waits are shorter: 2 s, 4 s, and so on."""
    half_open_batches: Annotated[int, base.whole(1, 100)] = 3
    """Batches that must land before it closes."""


class Hedging(base.Model):
    """Sending a slow write a second time, to another endpoint of the sink, and taking the first answer."""

    mode: Literal["Disabled", "Idempotent"] = "Disabled"
    """Idempotent: only where the sink says that a write which comes twice lands once, and order is not kept."""
    after_percentile: Annotated[int, base.whole(50, 99)] = 95
    """A write is slow when it takes longer than so many of 100 writes of its size, and twice as long as half of them."""
    budget_percent: Annotated[int, base.whole(1, 50)] = 5
    """Second writes, at most so many to 100 first ones."""


class Sink(base.Model):
    """One destination. Exactly the member that `type` names is set."""

    name: Annotated[str, base.text(40, base.DNS_LABEL)]
    """Name of the sink and of its lane. Offsets belong to it: a new name is a new lane, unless renamedFrom says otherwise."""
    renamed_from: Annotated[str, base.text(40, base.DNS_LABEL)] | None = None
    """The name this sink had before. It keeps its offsets."""
    type: SinkType
    """The kind of store."""
    lifecycle: Literal["Running", "Paused"] = "Running"
    """Paused: the lane writes nothing and keeps its place, for one store's maintenance."""
    start_from: base.StartFrom = base.StartFrom()
    """Where a sink that is added later starts to read."""
    when: base.Sql | None = None
    """SQL over the output columns: rows this sink takes. The rest is counted. Omitted: all."""
    table_policy: Literal["Verify", "CreateIfMissing", "AddColumns"] | None = None
    """Verify: the table must be there and fit. CreateIfMissing: it is made. AddColumns: and missing columns are added.
    Omitted: CreateIfMissing for DuckDB, otherwise Verify."""
    ordering: Literal["None", "PerPartition"] | None = None
    """PerPartition: one batch of a partition at a time, in order. Omitted: PerPartition for Kafka and for Postgres with
    write Upsert, otherwise None."""
    write_timeout_seconds: Annotated[int, base.whole(1, 3600)] = 30
    """How long one write may take. After that its outcome is unknown and it is tried again."""
    batching: Batching = Batching()
    """How rows become batches."""
    retry: Retry = Retry()
    """How a write is tried again."""
    circuit_breaker: CircuitBreaker = CircuitBreaker()
    """When a failing store is left alone."""
    hedging: Hedging = Hedging()
    """Whether a slow write is sent a second time."""
    replicas: base.Replicas = base.Replicas()
    """How many batcher pods; sink pods follow. Ignored on one machine."""
    click_house: stores.ClickHouse | None = None
    """Settings of type ClickHouse."""
    postgres: stores.Postgres | None = None
    """Settings of type Postgres."""
    kafka: stores.KafkaSink | None = None
    """Settings of type Kafka."""
    files: stores.Files | None = None
    """Settings of type Files."""
    duckdb: Annotated[stores.DuckDB | None, pydantic.Field(alias="duckDB")] = None
    """Settings of type DuckDB."""
    http: stores.Http | None = None
    """Settings of type HTTP."""
    custom: stores.Custom | None = None
    """Settings of type Custom."""
