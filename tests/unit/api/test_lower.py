"""From the written object to what the parts are told."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.api import examples

from penstock.api import defaults, lower
from penstock.api.model import batching, sinks
from penstock.core import delivery, schema
from penstock.core.transform import compile as transform_compile
from penstock.core.transform import spec


def _sink(**changes: Any) -> sinks.Sink:
    return examples.made(sinks=[{**examples.DUCKDB, **changes}]).spec.sinks[0]


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("ClickHouse", (2.0, 100_000, 16 << 20, 1.5, 16)),
        ("Postgres", (1.0, 10_000, 8 << 20, 0.75, 8)),
        ("Kafka", (0.25, 10_000, 1 << 20, 0.187, 8)),
        ("HTTP", (2.0, 500, 1 << 20, 1.5, 8)),
        ("Files", (60.0, 500_000, 64 << 20, 45.0, 4)),
        ("DuckDB", (1.0, 100_000, 64 << 20, 0.75, 1)),
        ("Custom", (2.0, 10_000, 8 << 20, 1.5, 8)),
    ],
)
def test_a_batching_that_says_nothing_has_the_defaults_of_its_type(type_: str, expected: tuple[float, ...]) -> None:
    """Catches a default that differs from what the fields' descriptions promise."""
    found = lower.batching(sinks.Sink.model_construct(type=type_, batching=batching.Batching(), write_timeout_seconds=30))
    assert (
        found.objective_seconds,
        found.limit_rows,
        found.limit_bytes,
        found.limit_linger_seconds,
        found.limit_concurrency,
    ) == expected


def test_every_type_of_sink_has_defaults() -> None:
    """Catches a type of sink that was added without any."""
    assert set(defaults.BATCHING) == set(get_args(sinks.SinkType))


def test_what_is_written_wins() -> None:
    """Catches a default in place of a written value."""
    written = {
        "mode": "Static",
        "objective": {"latencyMilliseconds": 5000, "percentile": 95, "prefer": "LowerLatency"},
        "limits": {"rows": 7, "bytes": 8192, "lingerMilliseconds": 900, "concurrency": 3},
        "static": {"rows": 6, "lingerMilliseconds": 800, "concurrency": 2},
    }
    assert lower.batching(_sink(batching=written, writeTimeoutSeconds=9)) == lower.ResolvedBatching(
        mode="Static",
        objective_seconds=5.0,
        percentile=95,
        prefer="LowerLatency",
        limit_rows=7,
        limit_bytes=8192,
        limit_linger_seconds=0.9,
        limit_concurrency=3,
        static_rows=6,
        static_linger_seconds=0.8,
        static_concurrency=2,
        write_timeout_seconds=9.0,
    )


@settings(max_examples=100)
@given(
    st.sampled_from(get_args(sinks.SinkType)),
    st.none() | st.integers(1, 10_000_000),
    st.none() | st.integers(1, 3_600_000),
    st.none() | st.integers(1, 256),
    st.none() | st.integers(10, 3_600_000),
)
def test_the_start_never_exceeds_the_limits(
    type_: str, rows: int | None, linger: int | None, slots: int | None, latency: int | None
) -> None:
    """Catches a default start above a limit that was lowered."""
    chosen = batching.Batching(
        objective=batching.Objective(latency_milliseconds=latency),
        limits=batching.Limits(rows=rows, linger_milliseconds=linger, concurrency=slots),
    )
    found = lower.batching(sinks.Sink.model_construct(type=type_, batching=chosen, write_timeout_seconds=30))
    assert 1 <= found.static_rows <= found.limit_rows
    assert 0 < found.static_linger_seconds <= found.limit_linger_seconds
    assert 1 <= found.static_concurrency <= found.limit_concurrency


def test_without_a_schema_the_event_is_one_json_column() -> None:
    """Catches a whole event that isn't marked as one."""
    found = lower.event_schema(examples.made())
    assert [(field.name, field.type) for field in found.fields] == [
        ("event", schema.FieldType.JSON),
        ("received_at", schema.FieldType.TIMESTAMP),
    ]
    assert found.whole_event


def test_fields_are_lowered_with_all_they_say() -> None:
    """Catches a property that is left behind, and a scale of 0 taken for none."""
    fields = [
        {"name": "id", "type": "Int64", "required": True, "coerce": True, "path": "$.meta.id"},
        {"name": "at", "type": "Timestamp", "format": "EpochSeconds"},
        {"name": "sum", "type": "Decimal", "scale": 0},
        {"name": "items", "type": "List", "element": {"type": "Struct", "fields": [{"name": "n", "type": "Int32"}]}},
    ]
    found = lower.event_schema(examples.made(schema={"unknownFields": "Reject", "fields": fields}))
    identity, at, amount, items = found.fields
    assert identity == schema.Field(name="id", type=schema.FieldType.INT64, required=True, coerce=True, path="$.meta.id")
    assert at.format is schema.TimestampFormat.EPOCH_SECONDS
    assert (amount.precision, amount.scale) == (18, 0)
    assert items.element is not None
    assert items.element.fields == (schema.Field(name="n", type=schema.FieldType.INT32),)
    assert found.unknown_fields is schema.UnknownFields.REJECT


def test_each_expression_knows_where_it_was_written() -> None:
    """Catches an SQL problem that points at another place, or at another sink."""
    fields = [{"name": "tags", "type": "List", "element": {"type": "String"}}]
    transform = {
        "explode": {"field": "tags", "as": "tag", "indexAs": "no", "whenEmpty": "Skip"},
        "variables": [{"name": "v", "value": "1"}],
        "filter": {"expression": "tag <> ''", "whenNull": "Skip"},
        "select": [{"name": "tag"}, {"name": "w", "value": "v + 1"}, {"name": "l", "literal": "x", "routeOnly": True}],
    }
    table = {"template": "t_{l}", "allowed": ["x"], "otherwise": "rest"}
    two = [
        {**examples.DUCKDB, "name": "a"},
        {"name": "b", "type": "DuckDB", "when": "w > 1", "duckDB": {"path": "o", "table": table}},
    ]
    made = examples.made(schema={"fields": fields}, transform=transform, sinks=two)
    first, second = (lower.transform_spec(made, sink) for sink in made.spec.sinks)
    assert second.explode == spec.Explode(field="tags", item="tag", index="no", when_empty=spec.WhenEmpty.SKIP)
    assert second.variables == (spec.Expression(name="v", sql="1", path="spec.transform.variables[0].value"),)
    assert second.filter == spec.Expression(name="filter", sql="tag <> ''", path="spec.transform.filter.expression")
    assert second.when_null is spec.WhenNull.SKIP
    assert second.select == (
        spec.Output(name="tag", value=spec.Expression(name="tag", sql='"tag"', path="spec.transform.select[0].name")),
        spec.Output(name="w", value=spec.Expression(name="w", sql="v + 1", path="spec.transform.select[1].value")),
        spec.Output(name="l", literal="x", route_only=True),
    )
    assert second.when == spec.Expression(name="when", sql="w > 1", path="spec.sinks[1].when")
    assert second.table is not None
    assert second.table.path == "spec.sinks[1].duckDB.table.template"
    assert (first.when, first.table, first.select) == (None, None, second.select)


def test_a_sink_is_found_by_its_name_even_beside_an_equal_one() -> None:
    """Catches a place looked up by equality of all settings."""
    made = examples.made(sinks=[{**examples.DUCKDB, "name": name, "when": "true"} for name in ("a", "b")])
    found = lower.transform_spec(made, made.spec.sinks[1]).when
    assert found is not None
    assert found.path == "spec.sinks[1].when"


@pytest.mark.parametrize("select", [None, [{"name": "id"}]], ids=["all fields", "selected"])
def test_partition_columns_with_a_value_become_columns_of_the_rows(select: list[dict[str, str]] | None) -> None:
    """Catches a folder whose value nobody computes, and the fields lost beside it."""
    files = {"url": "file:///x", "partition": [{"name": "id"}, {"name": "day", "value": "upper(id)"}]}
    transform = {"select": select} if select else {}
    made = examples.made(
        schema={"fields": [{"name": "id", "type": "String"}]},
        transform=transform,
        sinks=[{"name": "lake", "type": "Files", "files": files}],
    )
    found = lower.transform_spec(made, made.spec.sinks[0]).select
    assert found is not None
    assert [output.name for output in found] == ["id", "day"]
    assert found[1].value == spec.Expression(name="day", sql="upper(id)", path="spec.sinks[0].files.partition[1].value")


_UPSERT = {"host": "h", "database": "d", "table": "t", "write": "Upsert", "key": ["i"]}


@pytest.mark.parametrize(
    ("sink", "table", "policy", "ordering"),
    [
        (examples.DUCKDB, "clicks", "CreateIfMissing", "None"),
        ({**examples.DUCKDB, "tablePolicy": "Verify", "ordering": "PerPartition"}, "clicks", "Verify", "PerPartition"),
        ({"name": "lake", "type": "Files", "files": {"url": "file:///x"}}, "lake", "Verify", "None"),
        (
            {"name": "k", "type": "Kafka", "kafka": {"bootstrapServers": ["k:1"], "topic": "t.x"}},
            "t.x",
            "Verify",
            "PerPartition",
        ),
        (
            {
                "name": "p",
                "type": "Postgres",
                "postgres": {"host": "h", "database": "d", "table": "t", "write": "Upsert", "key": ["i"]},
            },
            "t",
            "Verify",
            "PerPartition",
        ),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_what_depends_on_the_store_is_worked_out(sink: dict[str, Any], table: str, policy: str, ordering: str) -> None:
    """Catches order that is lost in Kafka, and a first run that stops at a missing DuckDB table."""
    (found,) = examples.made(sinks=[sink]).spec.sinks
    assert (lower.table(found), lower.table_policy(found), lower.ordering(found)) == (table, policy, ordering)


def test_the_log_and_the_door_have_defaults_without_being_named() -> None:
    """Catches a door or log that only works when it is written down."""
    made = examples.made()
    assert (lower.partitions(made), lower.log_bytes(made)) == (1, 100 << 30)
    assert (lower.ingest(made).max_event_bytes, lower.partition_key(made)) == (1 << 20, ())


def test_events_share_a_partition_by_the_deduplication_key_unless_told_otherwise() -> None:
    """Catches equal events in different partitions, where no duplicate is seen."""
    declared = {"fields": [{"name": name, "type": "String", "required": True} for name in ("a", "b")]}
    key = {"key": ["a", "b"]}
    assert lower.partition_key(examples.made(schema=declared, deduplicate=key)) == ("a", "b")
    source = {"ingest": {"partitionBy": ["b"]}}
    assert lower.partition_key(examples.made(schema=declared, deduplicate=key, source=source)) == ("b",)


def test_a_kafka_sinks_key_and_headers_are_columns_over_the_outputs() -> None:
    """Catches a key that sees the event's fields instead of what is written, and one whose rows go to no column."""
    kafka = {"bootstrapServers": ["k:1"], "topic": "t", "key": "total", "headers": [{"name": "h", "value": "total + 1"}]}
    pipeline = examples.made(
        transform={"select": [{"name": "total", "value": "1 + 1"}]},
        sinks=[{"name": "out", "type": "Kafka", "kafka": {**kafka, "tombstone": "total IS NULL"}}],
    )
    outputs = lower.transform_spec(pipeline, pipeline.spec.sinks[0]).select or ()
    assert [(one.name, one.derived) for one in outputs] == [
        ("total", False),
        (delivery.KEY_COLUMN, True),
        (delivery.TOMBSTONE_COLUMN, True),
        (delivery.header_column(0), True),
    ]
    assert [one.value.path for one in outputs if one.derived and one.value] == [
        "spec.sinks[0].kafka.key",
        "spec.sinks[0].kafka.tombstone",
        "spec.sinks[0].kafka.headers[0].value",
    ]
    assert transform_compile.check(lower.transform_spec(pipeline, pipeline.spec.sinks[0])) == []


def test_a_kafka_sinks_own_linger_is_the_batchs() -> None:
    """Catches a field that is read and then ignored."""
    kafka = {"bootstrapServers": ["k:1"], "topic": "t", "lingerMilliseconds": 7}
    for batching_, expected in (({}, 0.007), ({"static": {"lingerMilliseconds": 11}}, 0.011)):
        sink = {"name": "out", "type": "Kafka", "kafka": kafka, "batching": batching_}
        assert lower.batching(examples.made(sinks=[sink]).spec.sinks[0]).static_linger_seconds == expected
