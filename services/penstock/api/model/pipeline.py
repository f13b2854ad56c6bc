"""`BatchPipeline`, the one object that describes a whole pipeline, and the two parts every object has."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from penstock.api.model import base
from penstock.api.model.log import Log
from penstock.api.model.pods import Pods
from penstock.api.model.schema import Deduplicate, Schema
from penstock.api.model.sinks import Sink
from penstock.api.model.source import Source
from penstock.api.model.transform import Transform

GROUP = "penstock.dev"
API_VERSION = "penstock.dev/v1alpha1"


class Metadata(base.Model):
    """What the object is called. What a cluster adds to it is left out."""

    name: Annotated[str, base.text(40, base.DNS_LABEL)]
    """Name of the object, at most 40 characters, so that names made from it stay valid."""
    namespace: Annotated[str, base.text(63, base.DNS_LABEL)] = "default"
    """Namespace of the object."""
    labels: base.Labels = pydantic.Field(default_factory=dict)
    """Labels of the object."""
    annotations: Annotated[dict[str, str], pydantic.Field(max_length=256)] = pydantic.Field(default_factory=dict)
    """Annotations of the object."""


class Updates(base.Model):
    """When pods get a new image."""

    mode: Literal["Auto", "OnEdit"] = "Auto"
    """Auto: when the operator is upgraded. OnEdit: with the next edit of this object."""


class Flood(base.Model):
    """What happens when suddenly very much is rejected."""

    mode: Literal["Pause", "Ignore"] = "Pause"
    """Pause: the lane stops and says why. Ignore: it goes on filling the dead letters."""
    percent: base.Percent = 20
    """Rejected events of 100 in the window."""
    minimum_events: Annotated[int, base.whole(1, 10_000_000)] = 1000
    """Events in the window before the percentage counts."""
    window_seconds: Annotated[int, base.whole(1, 3600)] = 60
    """The window."""


class DeadLetters(base.Model):
    """What is kept of events and rows that can't land."""

    retention_hours: Annotated[int, base.whole(1, 24 * 366)] = 168
    """Hours that a dead letter is kept."""
    dialect: Literal["Penstock", "Connect", "Kafka", "Spring"] = "Penstock"
    """Whose headers a dead letter carries, for tools that read the topic."""
    flood: Flood = Flood()
    """What happens when suddenly very much is rejected."""


class Tracing(base.Model):
    """Which events are followed."""

    sampled_per_million: Annotated[int, base.whole(0, 1_000_000)] = 1000
    """Requests of a million that are traced, unless the client decides."""


class Spec(base.Model):
    """What should be."""

    lifecycle: Literal["Running", "Draining", "Paused", "Stopped"] = "Running"
    """Draining: the door refuses and the lanes finish. Paused: the door accepts and the lanes hold. Stopped: neither."""
    service_account_name: Annotated[str, base.text(253, base.DNS_SUBDOMAIN)] | None = None
    """Service account of the pods, for stores that know it. Ignored on one machine."""
    pods: Pods = Pods()
    """Resources and placement of the pods. Ignored on one machine."""
    updates: Updates = Updates()
    """When pods get a new image. Ignored on one machine."""
    log: Log | None = None
    """The durable log. Omitted: the cluster's default one; on one machine, the embedded one."""
    source: Source = Source()
    """Where events come from."""
    event_schema: Annotated[Schema | None, pydantic.Field(alias="schema")] = None
    """What an event looks like. Omitted: two columns, event (Json) and received_at (Timestamp)."""
    deduplicate: Deduplicate | None = None
    """When two events are the same. Omitted: never."""
    transform: Transform = Transform()
    """What becomes of an event before it is written."""
    sinks: Annotated[tuple[Sink, ...], base.named(16, minimum=1)]
    """Where rows go."""
    dead_letters: DeadLetters = DeadLetters()
    """What is kept of events and rows that can't land."""
    tracing: Tracing = Tracing()
    """Which events are followed."""


class BatchPipeline(base.Model):
    """Takes events in, batches them to the size the stores like, and lands every one of them accounted for."""

    api_version: Literal["penstock.dev/v1alpha1"]
    """Version of this kind of object."""
    kind: Literal["BatchPipeline"]
    """Kind of this object."""
    metadata: Metadata
    """What the object is called."""
    spec: Spec
    """What should be."""
