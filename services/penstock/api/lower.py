"""From the object a person wrote to what the parts of a pipeline are told. Pure: one way, no defaults left open."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from penstock.api import defaults
from penstock.api.model import base, log, pipeline, sinks, source
from penstock.api.model import batching as batching_models
from penstock.api.model import schema as schema_models
from penstock.api.model import transform as transform_models
from penstock.core import delivery, schema
from penstock.core.records import fields
from penstock.core.state import spec as state_spec
from penstock.core.transform import spec

_WHOLE_EVENT = schema.Schema(
    fields=(
        schema.Field(name="event", type=schema.FieldType.JSON),
        schema.Field(name="received_at", type=schema.FieldType.TIMESTAMP),
    ),
    whole_event=True,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedBatching:
    """`batching` with every default filled in. Seconds are fractions; the static values never exceed the limits.

    `percentile` is of 100, `prefer` and `mode` are the words of the API.
    """

    mode: str
    objective_seconds: float
    percentile: int
    prefer: str
    limit_rows: int
    limit_bytes: int
    limit_linger_seconds: float
    limit_concurrency: int
    static_rows: int
    static_linger_seconds: float
    static_concurrency: int
    write_timeout_seconds: float


def batching(sink: sinks.Sink) -> ResolvedBatching:
    """A sink's batching, with the defaults of its type."""
    chosen, usual = sink.batching, defaults.BATCHING[sink.type]
    latency = chosen.objective.latency_milliseconds or usual.latency_milliseconds
    limits = _limits(chosen.limits, usual, latency)
    static = chosen.static
    told = static.linger_milliseconds or (sink.kafka.linger_milliseconds if sink.kafka else None)
    start_linger = told or latency * defaults.LINGER_START_PERCENT // 100
    return ResolvedBatching(
        mode=chosen.mode,
        objective_seconds=latency / 1000,
        percentile=chosen.objective.percentile,
        prefer=chosen.objective.prefer,
        limit_rows=limits.rows,
        limit_bytes=limits.bytes,
        limit_linger_seconds=limits.linger_milliseconds / 1000,
        limit_concurrency=limits.concurrency,
        static_rows=min(static.rows or usual.start_rows, limits.rows),
        static_linger_seconds=min(start_linger, limits.linger_milliseconds) / 1000,
        static_concurrency=min(static.concurrency or usual.start_concurrency, limits.concurrency),
        write_timeout_seconds=float(sink.write_timeout_seconds),
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    rows: int
    bytes: int
    linger_milliseconds: int
    concurrency: int


def _limits(chosen: batching_models.Limits, usual: defaults.BatchingDefaults, latency_milliseconds: int) -> _Limits:
    return _Limits(
        rows=chosen.rows or usual.limit_rows,
        bytes=chosen.bytes or usual.limit_bytes,
        linger_milliseconds=chosen.linger_milliseconds or latency_milliseconds * defaults.LINGER_LIMIT_PERCENT // 100,
        concurrency=chosen.concurrency or usual.limit_concurrency,
    )


def table(sink: sinks.Sink) -> str:
    """The table or topic for rows that no template sends elsewhere; the sink's name where the store has neither."""
    choice = next((choice for _, choice in _table_choices(sink) if choice is not None), sink.name)
    return choice if isinstance(choice, str) else choice.otherwise


def table_policy(sink: sinks.Sink) -> str:
    """What may be done to a table that isn't there. A DuckDB file is the pipeline's own; other stores have owners."""
    return sink.table_policy or ("CreateIfMissing" if sink.type == "DuckDB" else "Verify")


def ordering(sink: sinks.Sink) -> str:
    """`PerPartition` where a later batch must not overtake."""
    keeps_order = sink.type == "Kafka" or (sink.postgres is not None and sink.postgres.write == "Upsert")
    return sink.ordering or ("PerPartition" if keeps_order else "None")


def keeps_latest(sink: sinks.Sink) -> bool:
    """Whether the place in the log says which of two rows with one key is the later one."""
    chosen = sink.postgres
    return chosen is not None and chosen.write == "Upsert" and chosen.version_column is None


def ingest(described: pipeline.BatchPipeline) -> source.Ingest:
    """The settings of the door, with their defaults where none are written."""
    return described.spec.source.ingest or source.Ingest()


def partitions(described: pipeline.BatchPipeline) -> int:
    """Partitions of the log."""
    chosen = _log(described)
    if chosen.kafka is not None:
        return chosen.kafka.partitions
    return (chosen.embedded or log.EmbeddedLog()).partitions


def log_bytes(described: pipeline.BatchPipeline) -> int:
    """How large the log may grow, in bytes."""
    return _log(described).retention.max_bytes


def _log(described: pipeline.BatchPipeline) -> log.Log:
    return described.spec.log or log.Log()


def partition_key(described: pipeline.BatchPipeline) -> tuple[str, ...]:
    """The fields by which events share a partition; empty: spread evenly, or by whoever writes the topics of a source."""
    if described.spec.source.type == "Kafka":
        return ()
    deduplicate, state = described.spec.deduplicate, described.spec.transform.state
    return ingest(described).partition_by or (deduplicate.key if deduplicate else state.key if state else ())


def event_schema(described: pipeline.BatchPipeline) -> schema.Schema:
    """The declared schema; without one, the whole event as `event` and `received_at`."""
    declared = described.spec.event_schema
    added = fields.FIELDS if described.spec.source.type == "Kafka" else ()
    if declared is None:
        return dataclasses.replace(_WHOLE_EVENT, added=added)
    return schema.Schema(
        fields=tuple(_field(one) for one in declared.fields),
        unknown_fields=schema.UnknownFields(declared.unknown_fields),
        added=added,
    )


def _field(one: schema_models.Field) -> schema.Field:
    return dataclasses.replace(_element(one), name=one.name, required=one.required, path=one.path or "")


def _element(one: schema_models.Element) -> schema.Field:
    return schema.Field(
        name="item",
        type=schema.FieldType(one.type),
        coerce=one.coerce,
        format=schema.TimestampFormat(one.format or "Rfc3339"),
        precision=18 if one.precision is None else one.precision,
        scale=4 if one.scale is None else one.scale,
        element=_element(one.element) if one.element else None,
        fields=tuple(_field(inner) for inner in one.fields or ()),
    )


def transform_spec(described: pipeline.BatchPipeline, sink: sinks.Sink) -> spec.TransformSpec:
    """The transform of one sink's lane. Each expression's path is where it stands in the object."""
    transform = described.spec.transform
    at = f"spec.sinks[{described.spec.sinks.index(sink)}]"
    explode, chosen = transform.explode, transform.filter
    return spec.TransformSpec(
        schema=event_schema(described),
        state=state(described),
        explode=spec.Explode(
            field=explode.field,
            item=explode.item,
            index=explode.index_as,
            when_empty=spec.WhenEmpty(explode.when_empty),
        )
        if explode
        else None,
        variables=tuple(
            spec.Expression(name=one.name, sql=one.value, path=f"spec.transform.variables[{index}].value")
            for index, one in enumerate(transform.variables)
        ),
        filter=spec.Expression(name="filter", sql=chosen.expression, path="spec.transform.filter.expression") if chosen else None,
        when_null=spec.WhenNull(chosen.when_null if chosen else "Keep"),
        select=_select(described, sink, at),
        when=spec.Expression(name="when", sql=sink.when, path=f"{at}.when") if sink.when else None,
        table=_table_template(sink, at),
    )


def state(described: pipeline.BatchPipeline) -> state_spec.StateSpec | None:
    """What is remembered of each key, with the types of the declared fields."""
    told = described.spec.transform.state
    if told is None:
        return None
    columns = {field.name: schema.arrow_field(field) for field in event_schema(described).fields}
    return state_spec.StateSpec(
        key=told.key,
        max_keys=told.max_keys_per_partition,
        values=tuple(_state_value(one, columns) for one in told.values),
    )


def _state_value(one: transform_models.StateValue, columns: dict[str, Any]) -> state_spec.Value:
    kind = state_spec.Kind(one.type)
    field = one.field or ""
    counted = schema.Field(name=one.name, type=schema.FieldType.INT64)
    column = columns[field].with_name(one.name) if kind is state_spec.Kind.LAST else schema.arrow_field(counted)
    return state_spec.Value(kind=kind, column=column, field=field)


def _select(described: pipeline.BatchPipeline, sink: sinks.Sink, at: str) -> tuple[spec.Output, ...] | None:
    """The selected columns and, for Files, the partition columns with a value of their own."""
    chosen = described.spec.transform.select
    extra = (*_partition_columns(sink, at), *_record_columns(sink, at))
    if chosen is not None:
        return (*_outputs(described), *extra)
    if not extra:
        return None
    taken = {one.name for one in extra}
    names = [name for name in _default_columns(described) if name not in taken]
    return (*(spec.Output(name=name, value=_column(name, f"spec.schema.fields.{name}")) for name in names), *extra)


def _default_columns(described: pipeline.BatchPipeline) -> Iterator[str]:
    """What stands where nothing is selected: all fields, with the item, then its index, in the exploded array's place."""
    explode = described.spec.transform.explode
    for field in event_schema(described).fields:
        if explode is None or field.name != explode.field:
            yield field.name
        else:
            yield explode.item
            yield from [explode.index_as] if explode.index_as else []


def _outputs(described: pipeline.BatchPipeline) -> tuple[spec.Output, ...]:
    outputs = []
    for index, one in enumerate(described.spec.transform.select or ()):
        at = f"spec.transform.select[{index}]"
        value = spec.Expression(name=one.name, sql=one.value, path=f"{at}.value") if one.value else None
        if value is None and one.literal is None:
            value = _column(one.name, f"{at}.name")
        outputs.append(spec.Output(name=one.name, value=value, literal=one.literal, route_only=one.route_only))
    return tuple(outputs)


def _partition_columns(sink: sinks.Sink, at: str) -> tuple[spec.Output, ...]:
    partition = sink.files.partition if sink.files else ()
    return tuple(
        spec.Output(
            name=one.name,
            value=spec.Expression(name=one.name, sql=one.value, path=f"{at}.files.partition[{index}].value"),
        )
        for index, one in enumerate(partition)
        if one.value
    )


def _record_columns(sink: sinks.Sink, at: str) -> tuple[spec.Output, ...]:
    """What a Kafka sink needs of each row beside its value."""
    told = sink.kafka
    if told is None:
        return ()
    wanted = [(delivery.KEY_COLUMN, told.key, "key"), (delivery.TOMBSTONE_COLUMN, told.tombstone, "tombstone")]
    wanted += [(delivery.header_column(index), one.value, f"headers[{index}].value") for index, one in enumerate(told.headers)]
    return tuple(
        spec.Output(name=name, value=spec.Expression(name=member, sql=sql, path=f"{at}.kafka.{member}"), derived=True)
        for name, sql, member in wanted
        if sql
    )


def _column(name: str, path: str) -> spec.Expression:
    return spec.Expression(name=name, sql=f'"{name}"', path=path)


def _table_template(sink: sinks.Sink, at: str) -> spec.TableTemplate | None:
    """The template by which a row's table is found; None where all rows go to one."""
    for member, choice in _table_choices(sink):
        if isinstance(choice, base.NameTemplate):
            return spec.TableTemplate(
                template=choice.template,
                allowed=choice.allowed,
                otherwise=choice.otherwise,
                path=f"{at}.{member}.template",
            )
    return None


def _table_choices(sink: sinks.Sink) -> tuple[tuple[str, str | base.NameTemplate | None], ...]:
    return (
        ("clickHouse.table", sink.click_house.table if sink.click_house else None),
        ("postgres.table", sink.postgres.table if sink.postgres else None),
        ("kafka.topic", sink.kafka.topic if sink.kafka else None),
        ("duckDB.table", sink.duckdb.table if sink.duckdb else None),
    )
