"""`DeadLetterReplay`: chosen dead letters put back through the pipeline they came from."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from penstock.api.model import base, pipeline

Category = Literal["Malformed", "SchemaMismatch", "TooLarge", "TransformFailed", "SinkRejected", "Unclassified"]


class PipelineReference(base.Model):
    """A BatchPipeline in the same namespace."""

    name: Annotated[str, base.text(40, base.DNS_LABEL)]
    """Name of the BatchPipeline."""


class KafkaTopic(base.Model):
    """Dead letters that another tool left in a topic."""

    topic: base.Topic
    """The topic. It is only read."""
    dialect: Literal["Penstock", "Connect", "Kafka", "Spring"] | None = None
    """Whose headers the dead letters carry. Omitted: each record says so itself. Needed for a Connect that writes no headers."""
    bootstrap_servers: base.BootstrapServers | None = None
    """Brokers to ask first, each host:port. Omitted: the cluster of the pipeline's log, with its credentials, or else of its
    source."""
    authentication: base.KafkaAuthentication = base.KafkaAuthentication()
    """Credentials for these brokers."""
    tls: base.ClientTls | None = None
    """Set to speak TLS with these brokers. Omitted: plain text."""


class ReplaySource(base.Model):
    """Where the dead letters are."""

    type: Literal["Pipeline", "KafkaTopic"] = "Pipeline"
    """Pipeline: the pipeline's own. KafkaTopic: a topic of another tool."""
    kafka_topic: KafkaTopic | None = None
    """Settings of type KafkaTopic."""


class Select(base.Model):
    """Which dead letters. All that is given must fit; nothing given means all."""

    categories: Annotated[tuple[Category, ...], pydantic.Field(max_length=6)] = ()
    """Kinds of failure. Empty: all."""
    sinks: Annotated[tuple[Annotated[str, base.text(40, base.DNS_LABEL)], ...], pydantic.Field(max_length=16)] = ()
    """Sinks whose lane made the letter. Empty: all. Letters of a KafkaTopic go to the one sink that is named here; where the
    pipeline has one sink only, it need not be."""
    fingerprints: Annotated[tuple[Annotated[str, base.text(64, base.FINGERPRINT)], ...], pydantic.Field(max_length=64)] = ()
    """Errors by fingerprint. Empty: all."""
    failed_after_time: pydantic.AwareDatetime | None = None
    """Only letters made at this moment or later, such as "2026-01-31T08:00:00Z"."""
    failed_before_time: pydantic.AwareDatetime | None = None
    """Only letters made before this moment. Omitted: before this object was made, so that a replay always ends."""
    where: base.Sql | None = None
    """SQL over what a letter says of itself, such as "error_message LIKE '%Nullable%'": id, sink, category, stage, error_code,
    error_message, expression, fingerprint, attempt, received_at, failed_at, kafka_topic and others. Its event is not read."""


class SuspendOnFailure(base.Model):
    """When a replay that fails again stops by itself."""

    percent: base.Percent = 20
    """Letters of 100 that fail again."""
    minimum_events: Annotated[int, base.whole(1, 10_000_000)] = 100
    """Letters before the percentage counts."""


class ReplaySpec(base.Model):
    """What should be replayed. Only suspend, eventsPerSecond and action from DryRun to Replay can be changed later."""

    pipeline_ref: PipelineReference
    """The pipeline whose letters they are."""
    source: ReplaySource = ReplaySource()
    """Where the dead letters are."""
    select: Select = Select()
    """Which dead letters."""
    action: Literal["DryRun", "Replay", "Discard", "Export"] = "DryRun"
    """DryRun: count them. Replay: put them back. Discard: give them up, with a reason. Export: write them to a file."""
    reason: Annotated[str, base.text(1024)] | None = None
    """Why they are given up. Needed by Discard."""
    suspend: bool = False
    """Stop, and go on later from the same place."""
    events_per_second: Annotated[int, base.whole(1, 1_000_000)] = 500
    """How fast letters are put back."""
    max_replays_per_event: Annotated[int, base.whole(1, 100)] = 3
    """A letter that has failed this often is quarantined."""
    suspend_on_failure: SuspendOnFailure = SuspendOnFailure()
    """When the replay stops by itself."""
    ttl_seconds_after_finished: Annotated[int, base.whole(0, 366 * 86_400)] | None = None
    """When a finished object is removed. Omitted: never, so that a tool that applies it again doesn't run it again."""


class DeadLetterReplay(base.Model):
    """Puts chosen dead letters back through their pipeline, at a rate, once."""

    api_version: Literal["penstock.dev/v1alpha1"]
    """Version of this kind of object."""
    kind: Literal["DeadLetterReplay"]
    """Kind of this object."""
    metadata: pipeline.Metadata
    """What the object is called."""
    spec: ReplaySpec
    """What should be replayed."""
