"""A cluster's pipeline on one machine."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.api import examples

from penstock.api import lower, machine
from penstock.api.model import base
from penstock.core import errors

_TABLE = {"template": "clicks_{region}", "allowed": ["eu"], "otherwise": "rest"}
_CLUSTER: dict[str, Any] = {
    "serviceAccountName": "clicks",
    "updates": {"mode": "Auto"},
    "log": {"type": "Kafka", "retention": {"hours": 5}, "kafka": {"bootstrapServers": ["k:1"], "partitions": 6}},
    "source": {"ingest": {"replicas": {"min": 3}}},
    "sinks": [
        {
            "name": "ware-house",
            "type": "ClickHouse",
            "tablePolicy": "Verify",
            "clickHouse": {"url": "http://c:8123", "database": "d", "table": _TABLE},
            "replicas": {"max": 4},
        },
        {"name": "lake", "type": "Files", "files": {"url": "s3://b/x", "partition": [{"name": "event"}]}},
        {"name": "hook-1", "type": "HTTP", "http": {"url": "http://h"}},
    ],
}


def test_what_changes_where_data_goes_is_refused_with_the_flag_that_helps() -> None:
    """Catches a laptop run that writes to the production store, or nowhere."""
    problems = machine.one_machine_problems(examples.made(**_CLUSTER))
    assert [problem.field for problem in problems] == ["spec.sinks[1].files.url"]
    assert "--sink lake=duckdb:" in problems[0].remedy


def test_what_a_kafka_source_needs_beside_it_is_on_the_same_brokers_unless_said() -> None:
    """Catches several processes that each keep dead letters of their own, and one machine that needs a log in Kafka."""
    source = {"type": "Kafka", "kafka": {"bootstrapServers": ["k:1"], "topics": ["t"]}}
    described = examples.made(source=source)
    assert machine.one_machine_problems(described) == []
    spread = machine.for_processes(described)
    assert machine.process_problems(spread) == []
    assert spread.spec.log.kafka.bootstrap_servers == ("k:1",)
    elsewhere = examples.made(source=source, log={"type": "Kafka", "kafka": {"bootstrapServers": ["l:1"]}})
    assert machine.for_processes(elsewhere) is elsewhere


@pytest.mark.parametrize("log", [None, {"type": "Embedded"}, {"retention": {"hours": 1}}])
def test_a_log_that_is_left_open_is_the_embedded_one(log: dict[str, Any] | None) -> None:
    """Catches a minimal pipeline that needs a flag to run."""
    described = examples.made(**({"log": log} if log else {}))
    assert machine.one_machine_problems(described) == []


def test_overrides_make_it_run_here_and_keep_the_rest() -> None:
    """Catches a lost table template, retention or partition folder, and a leftover of the old store."""
    targets = {"ware-house": "duckdb:out.db", "lake": "files:lake", "hook-1": "duckdb:/tmp/hook.db"}
    found = machine.apply_overrides(examples.made(**_CLUSTER), "embedded", targets)
    assert machine.one_machine_problems(found) == []
    warehouse, lake, hook = found.spec.sinks
    assert (warehouse.type, warehouse.click_house, lower.table_policy(warehouse)) == ("DuckDB", None, "CreateIfMissing")
    assert warehouse.duckdb is not None
    assert warehouse.duckdb.path == "out.db"
    assert isinstance(warehouse.duckdb.table, base.NameTemplate)
    assert lake.files is not None
    assert (lake.files.url, lake.files.partition[0].name) == ("file://./lake", "event")
    assert (lower.table(hook), hook.http) == ("hook_1", None)
    assert found.spec.log is not None
    assert (lower.partitions(found), found.spec.log.retention.hours) == (1, 5)


def test_without_overrides_nothing_changes() -> None:
    """Catches a field that counts as written after a run that changed nothing."""
    described = examples.made(**_CLUSTER)
    found = machine.apply_overrides(described, None, {})
    assert found == described
    assert machine.ignored_fields(found) == machine.ignored_fields(described)


@pytest.mark.parametrize(
    ("log", "targets"),
    [
        ("kafka", {}),
        (None, {"nowhere": "duckdb:x"}),
        (None, {"lake": "postgres:x"}),
        (None, {"lake": "duckdb:"}),
        (None, {"lake": "out.db"}),
        (None, {"lake": "files:a b"}),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(log: str | None, targets: dict[str, str]) -> None:
    """Catches a misspelt sink whose rows go on to the store in the file."""
    with pytest.raises(errors.InvalidPipelineError):
        machine.apply_overrides(examples.made(**_CLUSTER), log, targets)


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("files:out", "file://./out"),
        ("files:./out/", "file://./out/"),
        ("files:/srv/x", "file:///srv/x"),
        ("files:file:///y", "file:///y"),
    ],
)
def test_a_folder_may_be_given_in_any_usual_way(target: str, url: str) -> None:
    """Catches a relative folder that becomes a host name."""
    files = machine.apply_overrides(examples.made(), None, {"warehouse": target}).spec.sinks[0].files
    assert files is not None
    assert files.url == url


def test_locked_doors_run_on_one_machine() -> None:
    """Catches a refusal left over from when the doors had no locks; that they hold is tested at the doors themselves."""
    ingest = {"auth": {"type": "BearerToken", "secretRef": {"name": "tokens"}}, "tls": {"secretRef": {"name": "certificate"}}}
    assert machine.one_machine_problems(examples.made(source={"ingest": ingest})) == []


def test_a_start_that_can_not_be_found_is_refused() -> None:
    """Catches a lane that begins somewhere else than it was told to."""
    late = {"type": "Time", "time": "2026-01-01T00:00:00Z"}
    sink = {"name": "w", "type": "DuckDB", "duckDB": {"path": "x.db", "table": "t"}, "startFrom": late}
    problems = machine.one_machine_problems(examples.made(sinks=[sink]))
    assert [problem.field for problem in problems] == ["spec.sinks[0].startFrom.type"]


def test_what_is_not_built_yet_is_named_where_somebody_asks_for_it() -> None:
    """Catches a wish that is dropped without a word."""
    sink = {"name": "w", "type": "DuckDB", "duckDB": {"path": "x.db", "table": "t"}, "batching": {"mode": "Auto"}}
    found = machine.unmet_fields(examples.made(sinks=[sink], deadLetters={"flood": {"percent": 10}}))
    assert found == ["spec.sinks[0].batching.mode (Static is used)"]
    assert machine.unmet_fields(examples.made()) == []


def test_fields_that_only_a_cluster_can_honour_are_named() -> None:
    """Catches the naming of what nobody wrote."""
    assert machine.ignored_fields(examples.made(**_CLUSTER)) == [
        "spec.serviceAccountName",
        "spec.updates",
        "spec.source.ingest.replicas",
        "spec.sinks[0].replicas",
    ]
    assert machine.ignored_fields(examples.made()) == []


def test_hedging_between_sink_processes_is_named_where_there_is_one_process() -> None:
    """Catches a second write that somebody relies on and that nobody sends."""
    sink = {"name": "w", "type": "Custom", "custom": {"serviceRef": {"name": "w", "port": 1}}, "hedging": {"mode": "Idempotent"}}
    assert machine.ignored_fields(examples.made(sinks=[sink])) == ["spec.sinks[0].hedging"]
