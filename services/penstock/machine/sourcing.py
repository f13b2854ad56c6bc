"""From `spec.source.kafka` to the log over the user's topics, and what lanes need to read their records.

Groups are called `<groupPrefix>.<lane>.events`; everything else that a pipeline has in Kafka is named as in `opening`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable, Mapping

from penstock.api.model import base as api_base
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import source as api_source
from penstock.batcher import settings as lane_settings
from penstock.core.records import documents
from penstock.core.records.avro import columns
from penstock.log import port
from penstock.log.kafka import settings as kafka_settings
from penstock.log.kafka.foreign import desk
from penstock.log.kafka.foreign import front as foreign
from penstock.registry import client, schemas
from penstock.sinks import port as sinks_port
from penstock.tls import client as tls_client

_MILLISECONDS = 1_000


def kafka_source(pipeline: api_pipeline.BatchPipeline) -> api_source.KafkaSource | None:
    """The source's settings, where events are records of the user's topics."""
    return pipeline.spec.source.kafka if pipeline.spec.source.type == "Kafka" else None


async def open_source(
    pipeline: api_pipeline.BatchPipeline,
    told: api_source.KafkaSource,
    security: kafka_settings.Security,
    secret: Callable[[str, str], str],
    own: Callable[[int], Awaitable[foreign.Own]],
) -> port.EventLog:
    """`secret` reads a key of a secret; `own` opens the pipeline's own log, with so many partitions. Raises LogError."""
    settings = foreign.Settings(
        kafka=kafka_settings.Settings(
            bootstrap=",".join(told.bootstrap_servers),
            prefix=told.group_prefix or f"penstock.{pipeline.metadata.namespace}.{pipeline.metadata.name}",
            partitions=1,
            security=security,
        ),
        topics=told.topics,
        start=_start(told),
        committed=told.isolation == "ReadCommitted",
    )
    return await foreign.ForeignLog.open(settings, own, _schemas(told, secret))


def _schemas(told: api_source.KafkaSource, secret: Callable[[str, str], str]) -> schemas.Schemas | None:
    registry = told.format.registry
    if told.format.type != "Avro" or registry is None:
        return None
    basic, reading = registry.authentication.secret_ref, functools.partial(functools.partial, _value, secret)
    return schemas.Schemas(
        client.Registry(
            url=registry.url,
            user=reading(basic.name, "username") if basic else None,
            password=reading(basic.name, "password") if basic else None,
            tls=client_tls("spec.source.kafka.format.registry.tls", registry.tls, reading).context if registry.tls else None,
        )
    )


def _value(secret: Callable[[str, str], str], name: str, key: str) -> str:
    """Secrets are renewed while processes run: one that isn't there is waited for as the registry itself is."""
    try:
        return secret(name, key)
    except sinks_port.SinkError as error:
        raise client.RegistryError(f"{error.failure.message}; {error.failure.remedy}") from error


def client_tls(
    place: str,
    told: api_base.ClientTls,
    reading: Callable[[str, str], Callable[[], str]],
    own: api_base.SecretReference | None = None,
) -> tls_client.Tls:
    """`reading` makes what reads a key of a secret; `own`: the secret of the client's certificate where it stands elsewhere."""
    authority, shown = told.ca_secret_ref, own or told.secret_ref
    return tls_client.Tls(
        place=place,
        authority=reading(authority.name, authority.key) if authority else None,
        certificate=reading(shown.name, "tls.crt") if shown else None,
        key=reading(shown.name, "tls.key") if shown else None,
    )


def reading(
    pipeline: api_pipeline.BatchPipeline, log: port.EventLog, settings: lane_settings.LaneSettings
) -> lane_settings.LaneSettings:
    """A lane's settings with what reads the records' values from this log; the same where it holds blocks."""
    told, schema = kafka_source(pipeline), settings.event_schema
    if told is None:
        return settings
    learner = getattr(log, "learner", None)
    if told.format.type == "Json" or not isinstance(learner, schemas.Schemas):
        return dataclasses.replace(settings, values=functools.partial(documents.Documents, schema, told.array_root))
    return dataclasses.replace(
        settings,
        values=functools.partial(columns.Records, schema, learner.known),
        learn=learner.learn_of,
    )


def retention_used(log: port.EventLog) -> Callable[[Mapping[int, int]], Awaitable[float]] | None:
    """What tells how much of what the source's topics keep is used up; None where the log is ours and keeps what is unread."""
    return log.retention_used if isinstance(log, foreign.ForeignLog) else None


def _start(told: api_source.KafkaSource) -> desk.StartFrom:
    time = told.start_from.time
    milliseconds = int(time.timestamp() * _MILLISECONDS) if time else 0
    return desk.StartFrom(where=desk.Start(told.start_from.type), milliseconds=milliseconds)
