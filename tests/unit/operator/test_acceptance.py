"""What the operator refuses to run, whoever let it into the cluster."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.operator import cluster

from penstock.api.model import log as api_log
from penstock_operator import settings, snapshot
from penstock_operator.planning import acceptance, places
from penstock_operator.resources import config


def _fields(described: dict[str, Any], told: settings.Settings = cluster.SETTINGS) -> list[str]:
    decided = acceptance.decide(snapshot.Snapshot(pipeline=described), told)
    assert (decided.running is None) is bool(decided.problems)
    return [problem.field for problem in decided.problems]


def _sink(type_: str, member: str, **told: Any) -> dict[str, Any]:
    return {"sinks": [{"name": "s", "type": type_, member: told}]}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"log": None}, "spec.log"),
        ({"log": {"type": "Embedded"}}, "spec.log.type"),
        (
            {"source": {"type": "Kafka", "kafka": {"bootstrapServers": ["127.0.0.1:1"], "topics": ["t"]}}},
            "spec.source.kafka.bootstrapServers[0]",
        ),
        (_sink("DuckDB", "duckDB", path="a", table="b"), "spec.sinks[0].type"),
        (_sink("Files", "files", url="s3://lake/x"), "spec.sinks[0].type"),
        (_sink("Custom", "custom", serviceRef={"name": "a", "port": 1}), "spec.sinks[0].type"),
        ({"sinks": [cluster.sink(startFrom={"type": "Time", "time": "2026-01-31T08:00:00Z"})]}, "spec.sinks[0].startFrom.type"),
        (_sink("HTTP", "http", url="http://169.254.169.254/latest"), "spec.sinks[0].http.url"),
        (_sink("Postgres", "postgres", host="localhost", database="d", table="t"), "spec.sinks[0].postgres.host"),
        (
            {"log": {"type": "Kafka", "kafka": {"bootstrapServers": ["k:1", "127.0.0.1:9092"]}}},
            "spec.log.kafka.bootstrapServers[1]",
        ),
        ({"image": "evil"}, "spec.image"),
        ({"pods": {"volumes": []}}, "spec.pods.volumes"),
        (
            _sink("ClickHouse", "clickHouse", url="http://c:1", database="d", table={"template": "a_{b}"}),
            "spec.sinks[0].clickHouse.table.allowed",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_pod_may_or_can_do_is_refused_with_its_field(spec: dict[str, Any], field: str) -> None:
    """Catches an object that the definitions let through, and a pod that is made of it."""
    assert field in _fields(cluster.pipeline(**spec))


@pytest.mark.parametrize("name", ["x" * 253, "a.b"])
def test_a_name_that_pods_can_not_have_is_refused(name: str) -> None:
    """Catches a crash on a name that the definition would not have let in."""
    assert _fields(cluster.pipeline(name)) == ["metadata.name"]


_OWN = """127.0.0.1 127.1 2130706433 0x7f.1 0177.0.0.1 0 169.254.169.254 ::1 [::1] fe80::1%eth0 ::ffff:127.0.0.1 0.0.0.0 224.0.0.1
localhost LocalHost. a.localhost kubernetes.default.svc metadata.google.internal"""


@pytest.mark.parametrize("host", _OWN.split())
def test_an_address_that_means_the_machine_itself_is_refused(host: str) -> None:
    """Catches the ways to write a loopback or link-local address that a comparison of texts misses."""
    assert places.refused(host)


@pytest.mark.parametrize(
    "host", ["clickhouse", "clickhouse.web.svc", "10.0.0.5", "192.168.1.1", "2001:db9::1", "8ch.example", "a1"]
)
def test_an_address_of_a_store_is_taken(host: str) -> None:
    """Catches a refusal of what people have."""
    assert places.refused(host) == ""


def test_the_default_log_is_chosen_once_and_stays() -> None:
    """Catches a pipeline that wakes up on another cluster because the operator's default changed."""
    first, second = (_with_default(name) for name in ("one:9092", "two:9092"))
    there = cluster.Cluster(cluster.pipeline(log={"retention": {"hours": 5}}))
    decided = acceptance.decide(there.snapshot(), first)
    assert decided.running is not None
    record = config.accepted(decided.running)
    there.objects["ConfigMap", record["metadata"]["name"]] = record
    again = acceptance.decide(there.snapshot(), second).running
    assert again is not None
    log = again.pipeline.spec.log
    assert log is not None
    assert log.kafka is not None
    assert (log.kafka.bootstrap_servers, log.retention.hours) == (("one:9092",), 5)


def _with_default(server: str) -> settings.Settings:
    log = api_log.Log.model_validate_json(f'{{"type": "Kafka", "kafka": {{"bootstrapServers": ["{server}"]}}}}')
    return settings.Settings(images=cluster.SETTINGS.images, default_log=log)


def test_a_record_that_can_not_be_read_stops_everything_and_is_told() -> None:
    """Catches an older operator that takes apart what a newer one made."""
    there = cluster.Cluster(cluster.pipeline())
    decided = acceptance.decide(there.snapshot(), cluster.SETTINGS)
    assert decided.running is not None
    record = config.accepted(decided.running)
    record["data"] = {"pipeline.json": record["data"]["pipeline.json"].replace('"sinks"', '"newer": 1, "sinks"')}
    there.objects["ConfigMap", record["metadata"]["name"]] = record
    assert [problem.field for problem in acceptance.decide(there.snapshot(), cluster.SETTINGS).problems] == ["spec.newer"]
