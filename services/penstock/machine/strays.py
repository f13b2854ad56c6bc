"""From `spec.source` of a DeadLetterReplay to the letters of a topic: which cluster, which topic, which lane takes them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection

from penstock.api.model import log as api_log
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import replay as api_replay
from penstock.api.model import source as api_source
from penstock.batcher import settings as lane_settings
from penstock.core import dialects
from penstock.ingest import secret as secret_port
from penstock.log import port
from penstock.log.kafka import strays as kafka_strays
from penstock.machine import lanes, opening, secrets
from penstock.replay import strays
from penstock.sinks import port as sinks_port


class StraysError(ValueError):
    """What is asked for does not fit the pipeline; the message names the field and the remedy."""


def home(pipeline: api_pipeline.BatchPipeline, sinks: Collection[str]) -> dialects.Home:
    """The lane that takes the letters of a topic. Raises StraysError."""
    known = {sink.name: sink for sink in pipeline.spec.sinks}
    if unknown := sorted(set(sinks) - set(known)):
        raise StraysError(f"spec.select.sinks: the pipeline has no sink {unknown[0]}; it has {', '.join(known)}")
    chosen = sorted(sinks) or list(known)
    if len(chosen) != 1:
        raise StraysError(
            f"spec.select.sinks (--sink): letters of a topic go to one sink, and these are {len(chosen)}: "
            f"name one of {', '.join(chosen)}"
        )
    told, sink = pipeline.metadata, known[chosen[0]]
    former = [sink.renamed_from] if sink.renamed_from else []
    return dialects.Home(
        lane=lane_settings.lane_name(told.namespace, told.name, sink.name),
        namespace=told.namespace,
        pipeline=told.name,
        sink=sink.name,
        formerly=[lane_settings.lane_name(told.namespace, told.name, name) for name in former],
        original_format=lanes.lane_for(pipeline, sink).record_format,
    )


@contextlib.asynccontextmanager
async def opened(
    pipeline: api_pipeline.BatchPipeline,
    log: port.EventLog,
    told: api_replay.KafkaTopic,
    sinks: Collection[str],
    secret_store: secrets.SecretStore,
) -> AsyncIterator[strays.Strays]:
    """The letters of the topic. Raises StraysError, LogError."""
    lane = home(pipeline, sinks)
    prefix = f"{pipeline.metadata.namespace}.{pipeline.metadata.name}."
    if opening.is_shared(pipeline) and told.topic.startswith(prefix):
        raise StraysError(
            f"spec.source.kafkaTopic.topic (--topic): {told.topic} is the pipeline's own: use type Pipeline (leave --topic out)"
        )
    cluster = _cluster(pipeline, told)
    try:
        security = opening.security(cluster, secret_store)
    except sinks_port.SinkError as error:
        raise StraysError(f"{error.failure.message}: {error.failure.remedy}") from error
    except secret_port.SecretError as error:
        raise StraysError(str(error)) from error
    bootstrap = ",".join(cluster.bootstrap_servers or ())
    topic = await kafka_strays.StrayTopic.open(told.topic, bootstrap=bootstrap, security=security)
    try:
        yield strays.Strays(topic, lane, dialects.Dialect(told.dialect) if told.dialect else None, log.partitions)
    finally:
        await topic.close()


def _cluster(
    pipeline: api_pipeline.BatchPipeline, told: api_replay.KafkaTopic
) -> api_replay.KafkaTopic | api_log.KafkaLog | api_source.KafkaSource:
    """The first that is there: what is told, the cluster of the log, that of the source."""
    if told.bootstrap_servers:
        return told
    log, source = pipeline.spec.log, pipeline.spec.source
    found = (log and log.kafka) or source.kafka
    if not found:
        raise StraysError(
            "spec.source.kafkaTopic.bootstrapServers (--brokers): is missing, "
            "and neither log nor source of the pipeline is in Kafka"
        )
    return found
