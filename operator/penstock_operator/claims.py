"""Who has which topic: a log's topics are named after its pipeline, so no two logs meet; a sink may be told to write into one.

Whoever was accepted first goes on. Groups need no claim: their names hold the pipeline and the sink whatever `groupPrefix` says,
so pipelines that read the same topics each read all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

from penstock.api import lower
from penstock.api.model import base
from penstock.api.model import pipeline as api_pipeline
from penstock.core import errors

_LOG: Final = ("events", "dead-letters", "outcomes", "accepted", "snapshots")
_REPLAYS: Final = "replay"
_CLUSTER_SUFFIXES: Final = (".cluster.local", ".svc")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A topic that a sink writes to. `field` is where the object says so."""

    field: str
    sink: str
    topic: str
    brokers: frozenset[str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What one pipeline has: the brokers of its log, and topics it writes to that have the form of a log's."""

    namespace: str
    name: str
    brokers: frozenset[str]
    written: tuple[Written, ...]

    @property
    def prefix(self) -> str:
        """What its log's topics begin with."""
        return f"{self.namespace}.{self.name}"


def held(described: api_pipeline.BatchPipeline) -> Held:
    """By a pipeline whose log is resolved."""
    spec, metadata = described.spec, described.metadata
    cluster = (spec.log and spec.log.kafka) or spec.source.kafka
    return Held(
        namespace=metadata.namespace,
        name=metadata.name,
        brokers=_brokers(cluster.bootstrap_servers, metadata.namespace) if cluster else frozenset(),
        written=tuple(one for one in _written(described) if log_of(one.topic)),
    )


def log_of(topic: str) -> str:
    """The prefix of the log that a topic is part of, going by its name; empty where it has no such name."""
    namespace, _, rest = topic.partition(".")
    name, _, which = rest.partition(".")
    return f"{namespace}.{name}" if which in _LOG or which.startswith(f"{_REPLAYS}.") else ""


def problems(asked: Held, before: Held | None, rivals: Sequence[Held]) -> list[errors.Problem]:
    """Why what is asked for can't run beside those that run already. What runs already itself is nobody's to stop."""
    known = {(one.topic, one.brokers) for one in before.written} if before else set()
    found = [_own(one) for one in asked.written if one.topic.startswith(f"{asked.prefix}.") and one.brokers & asked.brokers]
    for rival in rivals:
        new = (one for one in asked.written if (one.topic, one.brokers) not in known)
        found += [_theirs(one, rival) for one in _meeting(new, rival)]
        found += [] if before else [_mine(asked, one, rival) for one in _meeting(rival.written, asked)][:1]
    return found


def _meeting(written: Iterator[Written] | Sequence[Written], log: Held) -> Iterator[Written]:
    return (one for one in written if log_of(one.topic) == log.prefix and one.brokers & log.brokers)


def _own(one: Written) -> errors.Problem:
    return errors.Problem(
        field=one.field,
        value=one.topic,
        message="is this pipeline's own log: what lands there would be read again",
        remedy="Write to a topic of your own.",
    )


def _theirs(one: Written, rival: Held) -> errors.Problem:
    other = f"{rival.namespace}/{rival.name}"
    return errors.Problem(
        field=one.field,
        value=one.topic,
        message=f"is the log of pipeline {other}, which was there first",
        remedy=f"Write to another topic. Once {other} is gone, this is taken by itself.",
    )


def _mine(asked: Held, one: Written, rival: Held) -> errors.Problem:
    other = f"{rival.namespace}/{rival.name}"
    return errors.Problem(
        field="metadata.name",
        value=asked.name,
        message=f"its log would be topic {one.topic}, which sink {one.sink} of pipeline {other} writes to; it was there first",
        remedy=f"Use another name, or take the topic out of {other}; this one starts by itself then.",
    )


def _written(described: api_pipeline.BatchPipeline) -> Iterator[Written]:
    for index, sink in enumerate(described.spec.sinks):
        if sink.kafka is None:
            continue
        template = lower.transform_spec(described, sink).table
        topics = template.tables() if template else (lower.table(sink),)
        brokers = _brokers(sink.kafka.bootstrap_servers, described.metadata.namespace)
        for topic in topics:
            yield Written(field=f"spec.sinks[{index}].kafka.topic", sink=sink.name, topic=topic, brokers=brokers)


def _brokers(servers: base.BootstrapServers, namespace: str) -> frozenset[str]:
    """In one spelling: a Service has several names, and the shortest is that of the pipeline's own namespace."""
    return frozenset(_spelled(server, namespace) for server in servers)


def _spelled(server: str, namespace: str) -> str:
    host, _, port = server.lower().rpartition(":")
    host = host.rstrip(".")
    for suffix in _CLUSTER_SUFFIXES:
        host = host.removesuffix(suffix)
    return f"{host}:{port}" if "." in host else f"{host}.{namespace}:{port}"
