"""From the pipeline object to the settings of its lanes and doors, as one machine runs them."""

from __future__ import annotations

import hashlib

import pydantic

from penstock.api import lower
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import sinks as api_sinks
from penstock.api.model import source as api_source
from penstock.batcher import settings as lane_settings
from penstock.core import breaker, deadletters, dialects, flood, hedging
from penstock.core.batching import model
from penstock.core.transform import spec
from penstock.ingest import service as ingest_service


def revision(pipeline: api_pipeline.BatchPipeline) -> str:
    """Short name of what the pipeline object says, stable under re-ordering of its fields."""
    return hashlib.sha256(pipeline.spec.model_dump_json(by_alias=True).encode()).hexdigest()[:12]


def rows_revision(pipeline: api_pipeline.BatchPipeline, sink: api_sinks.Sink) -> str:
    """Short name of what decides which rows an event becomes, and where they go; what is left at its default counts as absent,
    so that a release with more fields gives the same name."""
    told = pipeline.spec
    parts: tuple[pydantic.BaseModel | str | None, ...] = (
        told.event_schema,
        told.transform,
        told.deduplicate,
        sink.click_house.table if sink.click_house else None,
    )
    texts = [
        part.model_dump_json(by_alias=True, exclude_defaults=True) if isinstance(part, pydantic.BaseModel) else str(part)
        for part in parts
    ]
    return hashlib.sha256("\n".join([sink.name, sink.when or "", *texts]).encode()).hexdigest()[:8]


def lane_for(pipeline: api_pipeline.BatchPipeline, sink: api_sinks.Sink) -> lane_settings.LaneSettings:
    """The lane of one sink."""
    batching, transform = lower.batching(sink), lower.transform_spec(pipeline, sink)
    return lane_settings.LaneSettings(
        namespace=pipeline.metadata.namespace,
        pipeline=pipeline.metadata.name,
        sink=sink.name,
        revision=revision(pipeline),
        rows_revision=rows_revision(pipeline, sink),
        event_schema=lower.event_schema(pipeline),
        transform=transform,
        tables=_tables(sink, transform.table),
        write_model=_static_model(batching),
        limits=model.Limits(
            rows=batching.limit_rows,
            bytes=batching.limit_bytes,
            linger_seconds=batching.limit_linger_seconds,
            concurrency=batching.limit_concurrency,
            write_timeout_seconds=batching.write_timeout_seconds,
        ),
        latency_objective_seconds=batching.objective_seconds,
        send_when_idle=batching.prefer == "LowerLatency",
        ordered=lower.ordering(sink) == "PerPartition",
        waits_for_store=sink.type not in ("DuckDB", "Files"),
        row_addresses=sink.type == "Kafka" or lower.keeps_latest(sink),
        deduplicate=_deduplicate(pipeline),
        start_from=lane_settings.StartFrom(sink.start_from.type),
        retry=lane_settings.Retry(
            initial_seconds=sink.retry.initial_backoff_milliseconds / 1000,
            maximum_seconds=sink.retry.max_backoff_milliseconds / 1000,
        ),
        unclassified_attempts=sink.retry.unclassified_attempts,
        dead_letters=dialects.Dialect(pipeline.spec.dead_letters.dialect),
        flood=_flood(pipeline),
        circuit=_circuit(sink),
        circuit_mode=breaker.Mode(sink.circuit_breaker.mode),
        hedging=_hedging(sink),
        record_format=_record_format(pipeline),
        # A group on somebody's topics can be joined by any process, whatever the pipeline's own log is.
        alone=pipeline.spec.source.type != "Kafka" and (pipeline.spec.log is None or pipeline.spec.log.type != "Kafka"),
    )


def ingest_for(pipeline: api_pipeline.BatchPipeline, *, grpc_address: str, http_address: str) -> ingest_service.IngestSettings:
    """The doors of the pipeline."""
    told = pipeline.spec.source.ingest or api_source.Ingest()
    return ingest_service.IngestSettings(
        namespace=pipeline.metadata.namespace,
        pipeline=pipeline.metadata.name,
        schema=lower.event_schema(pipeline),
        max_event_bytes=told.max_event_bytes,
        partition_by=lower.partition_key(pipeline),
        grpc_address=grpc_address,
        http_address=http_address,
    )


def _tables(sink: api_sinks.Sink, template: spec.TableTemplate | None) -> tuple[str, ...]:
    """The sink's one table, or all that a template may name; a sink without tables goes by its own name."""
    if template is not None:
        return template.tables()
    return (lower.table(sink),)


def partitions(pipeline: api_pipeline.BatchPipeline) -> int:
    """Partitions of the embedded log."""
    told = pipeline.spec.log.embedded if pipeline.spec.log else None
    return told.partitions if told else 1


def _static_model(batching: lower.ResolvedBatching) -> model.WriteModel:
    return model.WriteModel(
        budget_seconds=batching.static_linger_seconds,
        target_rows=batching.static_rows,
        cap_rows=batching.limit_rows,
        wanted_concurrency=batching.static_concurrency,
        maximum_concurrency=batching.limit_concurrency,
    )


def _deduplicate(pipeline: api_pipeline.BatchPipeline) -> lane_settings.Deduplicate | None:
    told = pipeline.spec.deduplicate
    if told is None:
        return None
    return lane_settings.Deduplicate(
        key=tuple(told.key), window_microseconds=told.window_seconds * 1_000_000, max_events=told.max_events_per_partition
    )


def _flood(pipeline: api_pipeline.BatchPipeline) -> flood.Settings | None:
    told = pipeline.spec.dead_letters.flood
    if told.mode == "Ignore":
        return None
    return flood.Settings(share=told.percent / 100, minimum=told.minimum_events, window_seconds=told.window_seconds)


def _circuit(sink: api_sinks.Sink) -> breaker.Settings:
    told = sink.circuit_breaker
    return breaker.Settings(
        minimum_attempts=told.minimum_attempts,
        consecutive_failures=told.consecutive_failures,
        failure_share=told.failure_percent / 100,
        window_seconds=told.window_seconds,
        open_seconds=told.open_seconds,
        half_open_successes=told.half_open_batches,
    )


def _record_format(pipeline: api_pipeline.BatchPipeline) -> deadletters.OriginalFormat:
    """Events that come in through doors are JSON to whoever put them into a topic of dead letters."""
    told = pipeline.spec.source
    known = told.type == "Kafka" and told.kafka
    return deadletters.OriginalFormat(known.format.type) if known else deadletters.OriginalFormat.JSON


def _hedging(sink: api_sinks.Sink) -> hedging.Settings | None:
    told = sink.hedging
    if told.mode == "Disabled":
        return None
    return hedging.Settings(after_percentile=told.after_percentile, budget_percent=told.budget_percent)
