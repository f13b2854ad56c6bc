"""The rules between fields, each broken on purpose by a change of a valid pipeline."""

from __future__ import annotations

import copy
import json
from typing import Any

import cel
import pytest
from tests.unit.api import examples

from penstock.api import check, jsonschema, load, rules
from penstock.api.model import base, pipeline, replay
from penstock.api.reading import document
from penstock.core import errors

_KAFKA = {"bootstrapServers": ["kafka:9092"]}
_SECRET = {"name": "s"}
_KEY = {"name": "s", "key": "k"}
_BASE: dict[str, Any] = {
    "schema": {
        "fields": [
            {"name": "id", "type": "Int64", "required": True},
            {"name": "other", "type": "String"},
            {"name": "tags", "type": "List", "element": {"type": "String"}},
            {"name": "amount", "type": "Decimal"},
        ]
    },
    "deduplicate": {"key": ["id"]},
    "sinks": [examples.DUCKDB],
}


def _store(type_: str, member: str, **settings: Any) -> list[dict[str, Any]]:
    return [{"name": "s", "type": type_, member: settings}]


def _with(**changes: Any) -> list[str]:
    """The rules' problems, as field and message, of the base with some parts replaced."""
    spec = {**copy.deepcopy(_BASE), **changes}
    kind = {"apiVersion": "penstock.dev/v1alpha1", "kind": "BatchPipeline", "metadata": {"name": "p"}}
    try:
        load.read(json.dumps({**kind, "spec": spec}))
    except errors.InvalidPipelineError as error:
        return [problem.field for problem in error.problems]
    return []


def _fields(*fields: dict[str, Any]) -> dict[str, Any]:
    return {"fields": [_BASE["schema"]["fields"][0], *fields]}


_CLICKHOUSE = {"url": "http://c:8123", "database": "d", "table": "t"}
_POSTGRES = {"host": "h", "database": "d", "table": "t"}
_FILES = {"url": "file:///x"}
_HEDGED = {"mode": "Idempotent"}
_KAFKA_SINK = {**_KAFKA, "topic": "t"}
_SOURCE = {**_KAFKA, "topics": ["t"]}
_DUCKDB = examples.DUCKDB


def _log(**kafka: Any) -> dict[str, Any]:
    return {"log": {"type": "Kafka", "kafka": {**_KAFKA, **kafka}}}


def _ingest(**settings: Any) -> dict[str, Any]:
    return {"source": {"ingest": settings}}


def _topics(**kafka: Any) -> dict[str, Any]:
    return {"source": {"type": "Kafka", "kafka": {**_SOURCE, **kafka}}}


def _declared(**field: Any) -> dict[str, Any]:
    return {"schema": _fields({"name": "a", **field})}


def _sink(**changes: Any) -> dict[str, Any]:
    return {"sinks": [{**_DUCKDB, **changes}]}


def _static(limits: dict[str, int] | None = None, **static: int) -> dict[str, Any]:
    return _sink(batching={"static": static, "limits": limits or {}})


def _postgres(**changes: Any) -> dict[str, Any]:
    return {"sinks": _store("Postgres", "postgres", **_POSTGRES, **changes)}


def _hedged_rows(ordering: str | None = None, **changes: Any) -> dict[str, Any]:
    sink = {**_postgres(**changes)["sinks"][0], "hedging": _HEDGED}
    return {"sinks": [sink if ordering is None else {**sink, "ordering": ordering}]}


def _files(*partition: dict[str, str], **changes: Any) -> dict[str, Any]:
    return {"sinks": _store("Files", "files", **_FILES, partition=list(partition), **changes)}


def _topic_sink(**changes: Any) -> dict[str, Any]:
    return {"sinks": [{**_store("Kafka", "kafka", **_KAFKA_SINK)[0], **changes}]}


def _state(*values: dict[str, Any], **rest: Any) -> dict[str, Any]:
    return {"transform": {"state": {"key": ["id"], "values": values or ({"name": "n", "type": "Count"},), **rest}}}


_BROKEN: list[tuple[str, dict[str, Any]]] = [
    ("spec.log.kafka", {"log": {"type": "Kafka"}}),
    ("spec.log.kafka", {"log": {"kafka": _KAFKA}}),
    ("spec.log.embedded", {"log": {"embedded": {}}}),
    ("spec.log.kafka.authentication.username", _log(authentication={"type": "Plain", "passwordSecretRef": _KEY})),
    ("spec.log.kafka.authentication.passwordSecretRef", _log(authentication={"passwordSecretRef": _KEY})),
    ("spec.log.kafka.authentication.secretRef", _log(authentication={"secretRef": _SECRET})),
    ("spec.log.kafka.tls", _log(authentication={"type": "Tls", "secretRef": _SECRET})),
    ("spec.log.kafka.partitions", {**_log(partitions=2), **_sink(replicas={"max": 3})}),
    ("spec.sinks[0].kafka.tombstone", {"sinks": _store("Kafka", "kafka", **_KAFKA_SINK, tombstone="true")}),
    (
        "spec.sinks[0].kafka.headers",
        {"sinks": _store("Kafka", "kafka", **_KAFKA_SINK, headers=[{"name": "penstock-event-id", "value": "id"}])},
    ),
    ("spec.source.kafka", {"source": {"type": "Kafka"}}),
    ("spec.source.ingest", {"source": {"type": "Kafka", "kafka": _SOURCE, "ingest": {}}}),
    ("spec.source.ingest.auth.secretRef", _ingest(auth={"type": "BearerToken"})),
    ("spec.source.ingest.replicas.min", _ingest(replicas={"min": 11})),
    ("spec.source.ingest.partitionBy", _ingest(partitionBy=["other"])),
    ("spec.source.ingest.partitionBy", {**_ingest(partitionBy=["nope"]), "deduplicate": None}),
    ("spec.source.kafka.arrayRoot", _topics(arrayRoot="id")),
    ("spec.source.kafka.format.registry", _topics(format={"type": "Avro"})),
    ("spec.source.kafka.startFrom.time", _topics(startFrom={"type": "Time"})),
    ("spec.schema.fields", {"schema": _fields({"name": "ID", "type": "String"})}),
    ("spec.schema.fields[1].name", {"schema": _fields({"name": "id", "type": "Int64", "required": True})}),
    ("spec.schema.fields[1].name", {"schema": _fields({"name": "_event", "type": "String"})}),
    ("spec.schema.fields[1].name", {"schema": _fields({"name": "kafka_offset", "type": "String"})}),
    ("spec.schema.fields[1].element", _declared(type="List")),
    ("spec.schema.fields[1].element.fields", _declared(type="List", element={"type": "Struct"})),
    ("spec.schema.fields[1].fields[0].scale", _declared(type="Struct", fields=[{"name": "b", "type": "Date", "scale": 1}])),
    ("spec.schema.fields[1].format", _declared(type="Date", format="Rfc3339")),
    ("spec.schema.fields[1].precision", _declared(type="Int32", precision=9)),
    ("spec.schema.fields[1].scale", _declared(type="Decimal", precision=3)),
    ("spec.schema.fields[1].scale", _declared(type="Decimal", scale=19)),
    ("spec.deduplicate", {"schema": None}),
    ("spec.deduplicate.key", {"deduplicate": {"key": ["nope"]}}),
    ("spec.deduplicate.key", {"deduplicate": {"key": ["id", "other"]}}),
    ("spec.deduplicate.key", {**_declared(type="Json", required=True), "deduplicate": {"key": ["a"]}}),
    ("spec.transform.explode.field", {"transform": {"explode": {"field": "id"}}}),
    ("spec.transform.explode.field", {"transform": {"explode": {"field": "tags"}}, "schema": None, "deduplicate": None}),
    ("spec.transform.explode", {"transform": {"explode": {"field": "tags", "as": "other"}}}),
    ("spec.transform.explode", {"transform": {"explode": {"field": "tags", "indexAs": "other"}}}),
    ("spec.transform.explode.indexAs", {"transform": {"explode": {"field": "tags", "as": "t", "indexAs": "t"}}}),
    ("spec.transform.variables", {"transform": {"variables": [{"name": "id", "value": "1"}]}}),
    ("spec.transform.variables", {"transform": {"variables": [{"name": "v", "value": "1"}, {"name": "V", "value": "1"}]}}),
    ("spec.transform.state", {**_state(), "schema": None, "deduplicate": None}),
    ("spec.transform.state.key", {**_state(key=["nope"]), "deduplicate": None}),
    ("spec.transform.state.key", {**_state(key=["other"]), "deduplicate": None}),
    (
        "spec.transform.state.key",
        {**_state(), **_declared(name="user", type="Int64", required=True), "deduplicate": {"key": ["id", "user"]}},
    ),
    ("spec.transform.state.values", _state({"name": "s", "type": "Sum", "field": "other"})),
    ("spec.transform.state.values", _state({"name": "l", "type": "Last", "field": "tags"})),
    ("spec.transform.state.values", _state({"name": "other", "type": "Count"})),
    ("spec.transform.state.values", _state({"name": "a", "type": "Count"}, {"name": "A", "type": "Count"})),
    ("spec.transform.state.values[0].field", _state({"name": "a", "type": "Last"})),
    ("spec.transform.state.values[0].field", _state({"name": "a", "type": "Count", "field": "id"})),
    (
        "spec.transform.state.maxKeysPerPartition",
        _state({"name": "a", "type": "Last", "field": "id"}, maxKeysPerPartition=800_001),
    ),
    ("spec.transform.select", {"transform": {"select": [{"name": "id", "routeOnly": True}]}}),
    ("spec.transform.select", {"transform": {"select": [{"name": "a", "value": "1"}, {"name": "A", "value": "1"}]}}),
    ("spec.transform.select[0].literal", {"transform": {"select": [{"name": "a", "value": "1", "literal": "1"}]}}),
    *(
        (f"spec.sinks[0].{member}", {"sinks": [{"name": "s", "type": type_}]})
        for type_, member in {
            "ClickHouse": "clickHouse",
            "Postgres": "postgres",
            "Kafka": "kafka",
            "Files": "files",
            "DuckDB": "duckDB",
            "HTTP": "http",
            "Custom": "custom",
        }.items()
    ),
    ("spec.sinks[0].files", _sink(files=_FILES)),
    ("spec.sinks[1].name", {"sinks": [_DUCKDB, _DUCKDB]}),
    ("spec.sinks", _sink(renamedFrom="warehouse")),
    ("spec.sinks", {"sinks": [{**_DUCKDB, "renamedFrom": "old"}, {**_DUCKDB, "name": "b", "renamedFrom": "old"}]}),
    ("spec.sinks[0].startFrom.time", _sink(startFrom={"type": "Now", "time": "2026-01-31T00:00:00Z"})),
    ("spec.sinks[0].batching.static.rows", _static(rows=100_001)),
    ("spec.sinks[0].batching.static.rows", _static(limits={"rows": 10}, rows=11)),
    ("spec.sinks[0].batching.static.concurrency", _static(concurrency=2)),
    ("spec.sinks[0].batching.static.lingerMilliseconds", _static(lingerMilliseconds=751)),
    ("spec.sinks[0].retry.initialBackoffMilliseconds", _sink(retry={"maxBackoffMilliseconds": 100})),
    ("spec.sinks[0].replicas.min", _sink(replicas={"min": 2, "max": 1})),
    (
        "spec.sinks[0].clickHouse.authentication.secretRef",
        {"sinks": _store("ClickHouse", "clickHouse", **_CLICKHOUSE, authentication={"type": "Basic"})},
    ),
    ("spec.sinks[0].postgres.authentication.secretRef", _postgres(authentication={"secretRef": _SECRET})),
    ("spec.sinks[0].postgres.key", _postgres(write="Upsert")),
    ("spec.sinks[0].postgres.versionColumn", _postgres(versionColumn="v")),
    ("spec.sinks[0].kafka.format.registry", _topic_sink(kafka={**_KAFKA_SINK, "format": {"type": "Avro"}})),
    ("spec.sinks[0].files.authentication.secretRef", _files(authentication={"type": "AccessKey"})),
    ("spec.sinks[0].http.headers[0]", {"sinks": _store("HTTP", "http", url="http://h", headers=[{"name": "A"}])}),
    ("spec.sinks[0].hedging.mode", _topic_sink(hedging={"mode": "Idempotent"})),
    ("spec.sinks[0].hedging.mode", _topic_sink(ordering="None", hedging=_HEDGED)),
    ("spec.sinks[0].hedging.mode", _sink(hedging=_HEDGED)),
    ("spec.sinks[0].hedging.mode", {"sinks": [{**_store("Files", "files", **_FILES)[0], "hedging": _HEDGED}]}),
    ("spec.sinks[0].hedging.mode", {"sinks": [{**_store("HTTP", "http", url="http://h")[0], "hedging": _HEDGED}]}),
    ("spec.sinks[0].hedging.mode", _hedged_rows(ordering="PerPartition")),
    ("spec.sinks[0].hedging.mode", _hedged_rows(write="Upsert", key=["id"])),
    ("spec.sinks", _files({"name": "nope"})),
    ("spec.sinks", {**_files({"name": "id", "value": "1"}), "transform": {"select": [{"name": "id"}]}}),
]


@pytest.mark.parametrize(("field", "changes"), _BROKEN, ids=[f"{index} {field}" for index, (field, _) in enumerate(_BROKEN)])
def test_a_broken_rule_is_told_at_its_field_and_nothing_else_is(field: str, changes: dict[str, Any]) -> None:
    """Catches a rule that is missing, always true, or points elsewhere; and one that follows from another's breakage."""
    changes = {key: value for key, value in changes.items() if value is not None or key in _BASE}
    assert set(_with(**changes)) == {field}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"log": {"retention": {"hours": 1}}},
        {"log": {"type": "Embedded"}},
        _state({"name": "n", "type": "Count"}, {"name": "l", "type": "Last", "field": "amount"}, maxKeysPerPartition=800_000),
        {"schema": None, "deduplicate": None},
        _declared(type="Struct", fields=[{"name": "_id", "type": "Decimal", "scale": 18}]),
        {"transform": {"explode": {"field": "tags", "as": "tag", "indexAs": "no"}, "select": [{"name": "tag"}]}},
        {"transform": {"select": [{"name": "id"}, {"name": "r", "literal": "", "routeOnly": True}]}},
        _static(rows=100_000, lingerMilliseconds=750, concurrency=1),
        _sink(batching={"objective": {"latencyMilliseconds": 4000}, "static": {"lingerMilliseconds": 3000}}),
        _static(limits={"lingerMilliseconds": 9000}, lingerMilliseconds=9000),
        _sink(renamedFrom="old"),
        _files({"name": "id"}, {"name": "d", "value": "1"}),
        {"sinks": [{**_store("ClickHouse", "clickHouse", **_CLICKHOUSE)[0], "hedging": _HEDGED}]},
        _hedged_rows(),
        _hedged_rows(write="Upsert", key=["id"], ordering="None"),
        _postgres(write="Upsert", key=["id"], versionColumn="v"),
    ],
    ids=str,
)
def test_what_keeps_the_rules_is_taken(changes: dict[str, Any]) -> None:
    """Catches a rule that is too strict, and one that stops at a field that was left out."""
    assert _with(**changes) == []


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_a_schema_may_be_four_levels_deep(depth: int) -> None:
    """Catches a file that runs here and is too deep for a cluster."""
    element: dict[str, Any] = {"type": "Int32"}
    for _ in range(depth - 2):
        element = {"type": "List", "element": element}
    field = {"name": "a", "type": "List", "element": element} if depth > 1 else {"name": "a", "type": "Int32"}
    assert bool(_with(schema=_fields(field))) is (depth > 4)


def test_every_rule_is_broken_by_a_test() -> None:
    """Catches a new rule without a test: each text must be false for some object above."""
    seen: set[str] = set()
    original = check.holds

    def watching(rule: rules.Rule, value: Any) -> bool:
        held = original(rule, value)
        seen.update(() if held else (rule.cel,))
        return held

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(check, "holds", watching)
        for _, changes in _BROKEN:
            _with(**{key: value for key, value in changes.items() if value is not None or key in _BASE})
    untested = [rule for rule in rules.BATCH_PIPELINE if rule.cel not in seen]
    assert untested == []


@pytest.mark.parametrize("rule", [*rules.BATCH_PIPELINE, *rules.DEAD_LETTER_REPLAY], ids=lambda rule: f"{rule.path} {rule.field}")
def test_a_rule_can_be_given_to_a_cluster(rule: rules.Rule) -> None:
    """Catches text that is no CEL, a path to a list's index, a message or remedy that is missing or no sentence."""
    cel.compile(rule.cel)
    assert "self" in rule.cel
    assert not any(character.isdigit() for character in rule.path)
    assert rule.message
    assert not rule.message.endswith(".")
    assert rule.remedy.endswith(".")
    assert rule.field == "" or rule.field.startswith(".")


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        *((pipeline.BatchPipeline, rule) for rule in rules.BATCH_PIPELINE),
        *((replay.DeadLetterReplay, rule) for rule in rules.DEAD_LETTER_REPLAY),
    ],
    ids=lambda value: f"{value.path} {value.field}" if isinstance(value, rules.Rule) else "",
)
def test_a_rule_sits_on_something_that_exists(model: type[base.Model], rule: rules.Rule) -> None:
    """Catches a misspelt path, where a rule is never asked and nobody notices."""
    place = rule.path.removesuffix("**").replace("[]", "[0]")
    root = jsonschema.of_model(model)
    assert jsonschema.at(root, document.path(place))
    assert jsonschema.at(root, document.path(place + rule.field))


def test_members_with_names_of_cel_are_reached_as_in_a_cluster() -> None:
    """Catches __as__ that only works here, or only there."""
    rule = rules.Rule(path="x", cel="self.__as__ == 'a' && self.inner.__namespace__ == 'b'", message="m", remedy="r.")
    assert check.holds(rule, {"as": "a", "inner": {"namespace": "b"}})
