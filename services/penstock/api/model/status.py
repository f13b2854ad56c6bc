"""`status` of a BatchPipeline: what is. Written by the operator alone; the bounds keep one object from filling a cluster.

Whole numbers with their unit in the name, as everywhere in the API: a status holds no fractions.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from penstock.api.model import base

Count = Annotated[int, base.whole(0, base.MAX_INT64)]
Short = Annotated[str, pydantic.Field(max_length=63)]
Told = Annotated[str, pydantic.Field(max_length=4096)]
Counts = Annotated[dict[Annotated[str, base.text(63)], Count], pydantic.Field(max_length=64)]


class Condition(base.Model):
    """One condition, in the form tools such as kubectl wait know."""

    type: Annotated[str, base.text(316)]
    """Which condition."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    observed_generation: Count = 0
    """The edit of the object that was looked at."""
    last_transition_time: pydantic.AwareDatetime
    """When status last changed."""
    reason: Annotated[str, base.text(1024, r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why, as one word for programs."""
    message: Annotated[str, pydantic.Field(max_length=32_768)] = ""
    """Why, for people, with the way out."""


Conditions = Annotated[tuple[Condition, ...], base.named(16, key="type")]


class Display(base.Model):
    """The columns of `kubectl get`, as texts."""

    state: Short = ""
    """Starting, Running, Updating, Degraded, Draining, Drained, Paused, Stopped, Halted, Stalled or Down."""
    rate: Short = ""
    """Events read in a second, by the slowest lane."""
    lag: Short = ""
    """Age of the oldest unread event, of the lane furthest behind."""
    batch: Short = ""
    """Rows of a batch, of the largest lane."""
    circuit: Short = ""
    """Lanes whose circuit is not closed, of all."""
    dead: Short = ""
    """Outstanding dead letters."""
    retain: Short = ""
    """How long, at the present rate, until the log is full and the door refuses."""
    p99: Short = ""
    """Slowest lane's time from accepted to landed that 99 of 100 events keep."""
    objective: Short = ""
    """What that time should be."""
    replicas: Short = ""
    """Ready pods, of those wanted: door, then lanes, then sinks."""


class LogStatus(base.Model):
    """The log that is in use. Once written, identity and partitions stay."""

    cluster_id: Short = ""
    """Identity of the Kafka cluster."""
    log_id: Short = ""
    """Identity of the log; it is part of each landed range."""
    topic: Annotated[str, pydantic.Field(max_length=249)] = ""
    """Topic of the events."""
    dead_letter_topic: Annotated[str, pydantic.Field(max_length=249)] = ""
    """Topic of the dead letters."""
    bootstrap_servers: Annotated[tuple[Annotated[str, base.text(260)], ...], pydantic.Field(max_length=16)] = ()
    """Brokers that were resolved when the log was chosen."""
    partitions: Annotated[int, base.whole(0, 1024)] = 0
    """Partitions of the log."""
    bytes: Count = 0
    """Size of the log."""
    bytes_limit: Count = 0
    """Size at which the door refuses."""


class DeliveryStatus(base.Model):
    """What a lane promises of the number of times a row lands."""

    mode: Short = ""
    """EffectivelyOnce or AtLeastOnce."""
    reason: Annotated[str, pydantic.Field(max_length=255)] = ""
    """What the promise rests on."""


class LagStatus(base.Model):
    """What a lane has not landed yet."""

    events: Count = 0
    """Unread events."""
    oldest_unread_milliseconds: Count = 0
    """Age of the oldest of them."""
    retention_used_percent: Count = 0
    """Of a source in Kafka: how much of what its topics keep, by age and size, the oldest of them has used up."""


class CircuitStatus(base.Model):
    """The circuit breaker of a lane."""

    state: Literal["Closed", "Open", "HalfOpen", "Unknown"] = "Unknown"
    """The worst of the lane's pods."""
    since: pydantic.AwareDatetime | None = None
    """When it changed."""
    replicas_open: Annotated[int, base.whole(0, 10_000)] = 0
    """Pods whose circuit is not closed."""
    last_failure: Told = ""
    """What the store last said."""


class ModelStatus(base.Model):
    """What a write costs, as far as it is known."""

    per_row_nanoseconds: Count = 0
    """Of one more row."""
    per_write_microseconds: Count = 0
    """Of one more write."""
    safety_permille: Count = 0
    """The margin for what varies, in thousandths."""
    samples: Count = 0
    """Writes it was learnt from."""


class BatchingStatus(base.Model):
    """How a lane batches now."""

    rows: Count = 0
    """Rows of a batch."""
    linger_milliseconds: Count = 0
    """How long a batch waits for more rows."""
    concurrency: Count = 0
    """Writes in flight."""
    model: ModelStatus | None = None
    """What a write costs, where it is measured."""
    predicted_latency_milliseconds: Count | None = None
    """What 99 of 100 events should keep, from accepted to landed."""
    observed_latency_milliseconds: Count = 0
    """What 99 of 100 events keep, from accepted to landed."""
    decided_at: pydantic.AwareDatetime | None = None
    """When these figures were chosen."""
    reason: Short = ""
    """Why, as one word."""
    message: Told = ""
    """Why, as a sentence."""


class EventCounts(base.Model):
    """What became of the events a lane has read."""

    read: Count = 0
    """All of them."""
    duplicates: Count = 0
    """Left out because an equal one came before."""
    dead_lettered: Count = 0
    """Dead-lettered before they became rows."""
    transformed: Count = 0
    """Made into rows, or into none."""
    in_flight: Count = 0
    """Being worked on."""
    lost: Count = 0
    """In blocks that were left out because nobody could read them."""


class RowCounts(base.Model):
    """What became of the rows a lane has made."""

    made: Count = 0
    """All of them."""
    filtered: Count = 0
    """Left out by the filter."""
    other_lanes: Count = 0
    """Left out by this sink's `when`."""
    written: Count = 0
    """Landed."""
    dead_lettered: Count = 0
    """Refused by the store."""
    in_flight: Count = 0
    """Being written."""


class LedgerStatus(base.Model):
    """The counts that account for every event and row of a lane."""

    events: EventCounts = EventCounts()
    """Events."""
    rows: RowCounts = RowCounts()
    """Rows."""
    unexplained: Count = 0
    """Events and rows the counts can't place. Anything but 0 is a fault."""


class DeadLetterStatus(base.Model):
    """What became of a lane's dead letters."""

    outstanding: Count = 0
    """Still waiting for somebody."""
    replayed: Count = 0
    """Put back, and not failed again."""
    expired: Count = 0
    """Outstanding when their retention ended."""
    by_category: Counts = pydantic.Field(default_factory=dict)
    """Those outstanding, by kind of failure."""


class LaneStatus(base.Model):
    """One lane, all its pods together."""

    sink: Annotated[str, base.text(40, base.DNS_LABEL)]
    """The sink whose lane it is."""
    state: Short = ""
    """Starting, Running, Paused, Halted, Draining, Drained, or Unknown while no pod answers."""
    message: Told = ""
    """Why it is not simply running."""
    delivery: DeliveryStatus = DeliveryStatus()
    """What it promises."""
    lag: LagStatus = LagStatus()
    """What it has not landed yet."""
    circuit: CircuitStatus = CircuitStatus()
    """Its circuit breaker."""
    batching: BatchingStatus = BatchingStatus()
    """How it batches."""
    ledger: LedgerStatus = LedgerStatus()
    """Its books."""
    dead_letters: DeadLetterStatus = DeadLetterStatus()
    """Its dead letters."""


class Status(base.Model):
    """What is."""

    observed_generation: Count = 0
    """The edit of the object this status is about."""
    message: Told = ""
    """The state in a sentence."""
    display: Display = Display()
    """The columns of `kubectl get`."""
    observed_at: pydantic.AwareDatetime | None = None
    """When the operator last looked. Old means that the operator is gone, not that the pipeline is."""
    conditions: Conditions = ()
    """Ready, Reconciling, Stalled, SpecValid, LogReachable, Landing, ObjectiveFeasible, RetentionSafe, Conserved."""
    log: LogStatus | None = None
    """The log in use."""
    lanes: Annotated[tuple[LaneStatus, ...], base.named(32, key="sink")] = ()
    """The lanes, one for each sink."""


class ErrorCount(base.Model):
    """Dead letters of one error."""

    fingerprint: Annotated[str, base.text(64, base.FINGERPRINT)]
    """The error."""
    count: Count = 0
    """Letters."""
    example: Told = ""
    """What one of them says."""


class ReplayStatus(base.Model):
    """How far a replay is."""

    observed_generation: Count = 0
    """The edit of the object this status is about."""
    message: Told = ""
    """The state in a sentence."""
    conditions: Conditions = ()
    """Complete, Failed, Suspended, Reconciling, Stalled."""
    action: Short = ""
    """What was done, or is being done: the counts are of this action."""
    selected: Count = 0
    """Letters that fit the selection."""
    replayed: Count = 0
    """Letters put back."""
    landed: Count = 0
    """Letters whose rows have landed."""
    failed: Count = 0
    """Letters that failed again."""
    quarantined: Count = 0
    """Letters that failed too often to be put back."""
    discarded: Count = 0
    """Letters given up."""
    by_category: Counts = pydantic.Field(default_factory=dict)
    """Letters selected, by kind of failure."""
    by_error: Annotated[tuple[ErrorCount, ...], base.named(32, key="fingerprint")] = ()
    """Letters selected, by error."""
    started_at: pydantic.AwareDatetime | None = None
    """When the first letter was looked at."""
    finished_at: pydantic.AwareDatetime | None = None
    """When the last was done."""
