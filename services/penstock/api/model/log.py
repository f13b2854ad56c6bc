"""`spec.log`: the durable log between the door and the lanes."""

from __future__ import annotations

from typing import Annotated, Literal

from penstock.api.model import base


class Retention(base.Model):
    """How long events stay after every lane has read them. What is unread is never deleted."""

    hours: Annotated[int, base.whole(1, 24 * 366)] = 48
    """Hours that an event stays after it has been read by all lanes."""
    max_bytes: Annotated[int, base.whole(1 << 20, 1 << 50)] = 100 << 30
    """Size of the log. When unread events fill it, new ones are refused at the door; nothing is dropped."""


class KafkaLog(base.Model):
    """The log as topics of a Kafka cluster."""

    bootstrap_servers: base.BootstrapServers
    """Brokers to ask first, each host:port."""
    partitions: Annotated[int, base.whole(1, 1024)] = 6
    """Partitions of the log. At least as many as batcher pods of any sink. Can't change while events are unread."""
    replication_factor: Annotated[int, base.whole(1, 15)] = 3
    """Copies of each partition."""
    authentication: base.KafkaAuthentication = base.KafkaAuthentication()
    """Credentials for the brokers."""
    tls: base.ClientTls | None = None
    """Set to speak TLS with the brokers. Omitted: plain text."""


class EmbeddedLog(base.Model):
    """The log as files beside the one process that uses it."""

    partitions: Annotated[int, base.whole(1, 64)] = 1
    """Partitions of the log. One is enough for one machine. Can't change while events are unread."""


class Log(base.Model):
    """The durable log: an event is acknowledged once it is in here."""

    type: Literal["Kafka", "Embedded"] | None = None
    """Kafka in a cluster, Embedded on one machine. Omitted: the cluster's default log; on one machine, Embedded."""
    retention: Retention = Retention()
    """What the log keeps after it has been read, and how large it may grow."""
    kafka: KafkaLog | None = None
    """Settings of type Kafka."""
    embedded: EmbeddedLog | None = None
    """Settings of type Embedded. Omitted: its defaults."""
