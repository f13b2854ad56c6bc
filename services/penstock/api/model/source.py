"""`spec.source`: where events come from."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from penstock.api.model import base


class IngestAuth(base.Model):
    """Who may send events."""

    type: Literal["None", "BearerToken"] = "None"
    """None: everybody who reaches the port. BearerToken: those who show a token of the Secret."""
    secret_ref: base.SecretReference | None = None
    """Each key of this Secret is a client's name, each value its token. Belongs to BearerToken."""


class IngestTls(base.Model):
    """The certificate the door shows."""

    secret_ref: base.SecretReference
    """The Secret with the keys tls.crt and tls.key; with ca.crt, clients must show a certificate too."""


class IngestReplicas(base.Model):
    """How many pods take events in."""

    mode: Literal["Auto", "External"] = "Auto"
    """Auto: Penstock chooses between min and max. External: something else, such as an autoscaler, sets the number."""
    min: Annotated[int, base.whole(1, 1000)] = 2
    """The fewest pods."""
    max: Annotated[int, base.whole(1, 1000)] = 10
    """The most pods."""


class Ingest(base.Model):
    """Events are sent to Penstock's own gRPC and HTTP ports."""

    max_event_bytes: Annotated[int, base.whole(1024, 4 << 20)] = 1 << 20
    """The largest event that is accepted, in bytes of JSON. At most 4 MiB: half of what one record of the log may hold."""
    partition_by: Annotated[tuple[base.Column, ...], pydantic.Field(min_length=1, max_length=8)] | None = None
    """Events that are equal in these fields keep their order. A subset of deduplicate.key, which is also the default;
    with neither, events are spread evenly."""
    auth: IngestAuth = IngestAuth()
    """Who may send events."""
    tls: IngestTls | None = None
    """Set to serve TLS. Omitted: plain text."""
    replicas: IngestReplicas = IngestReplicas()
    """How many pods take events in. Ignored on one machine."""


class Registry(base.Model):
    """A schema registry."""

    url: base.HttpUrl
    """Address of the registry."""
    authentication: base.BasicAuthentication = base.BasicAuthentication()
    """Credentials for the registry."""
    tls: base.ClientTls | None = None
    """What is trusted and shown at an https address. Omitted: the system's authorities, and no certificate."""


class RecordFormat(base.Model):
    """How the value of a Kafka record is written."""

    type: Literal["Json", "Avro"] = "Json"
    """Json: one document per record. Avro: with a schema registry."""
    registry: Registry | None = None
    """The schema registry. Needed by Avro."""


class KafkaSource(base.Model):
    """Events are records of your own Kafka topics."""

    bootstrap_servers: base.BootstrapServers
    """Brokers to ask first, each host:port."""
    topics: Annotated[tuple[base.Topic, ...], pydantic.Field(min_length=1, max_length=64)]
    """Topics to read. Can't change while events are unread."""
    group_prefix: Annotated[str, base.text(100, base.TOPIC)] | None = None
    """Consumer groups are named prefix.namespace/name/sink.events. Omitted: penstock.namespace.name."""
    start_from: base.StartFrom = base.StartFrom()
    """Where reading starts the first time."""
    isolation: Literal["ReadCommitted", "ReadUncommitted"] = "ReadCommitted"
    """Whether records of unfinished transactions are read."""
    format: RecordFormat = RecordFormat()
    """How a record's value is written."""
    array_root: base.Column | None = None
    """A record that is a JSON array is read as if it stood under this field, which the schema declares as a List."""
    authentication: base.KafkaAuthentication = base.KafkaAuthentication()
    """Credentials for the brokers."""
    tls: base.ClientTls | None = None
    """Set to speak TLS with the brokers. Omitted: plain text."""


class Source(base.Model):
    """Where events come from."""

    type: Literal["Ingest", "Kafka"] = "Ingest"
    """Ingest: clients send events to Penstock. Kafka: Penstock reads your topics. Can't change while events are unread."""
    ingest: Ingest | None = None
    """Settings of type Ingest. Omitted: its defaults."""
    kafka: KafkaSource | None = None
    """Settings of type Kafka."""
