"""The faults over Kafka of `make chaos` in short form, judged by the same checker. The seed is in the names.

A broker that is away for a minute costs a minute and hardly any work: that happens to a broker of its own, meanwhile.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from concurrent import futures

import pytest
from e2e.chaos import processes, report
from e2e.chaos.kafka import stage, together
from tests.servers import kafka_cluster

SEED = int(os.environ.get("PENSTOCK_CHAOS_SEED", "20261121"))
AWAY = dataclasses.replace(stage.SHORT, events=6_000, rate=1_000, away_seconds=60.0)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[processes.Nursery]:
    with processes.Nursery(tmp_path_factory.mktemp("zygote")) as started:
        yield started


@pytest.fixture(scope="module")
def away(nursery, installed_servers, postgres_server, tmp_path_factory) -> Iterator[futures.Future[report.Report]]:
    """What becomes of a pipeline whose broker is stopped for a minute; it begins when the first test asks."""
    path = tmp_path_factory.mktemp("away")

    def happen() -> report.Report:
        with kafka_cluster.Cluster(installed_servers, path / "kafka", 1) as cluster:
            servers = stage.Servers(
                nodes=[cluster.nodes[0].server], bootstrap=cluster.bootstrap, replication=1, postgres=postgres_server
            )
            return stage.happen(together.AWAY, nursery, servers, path, SEED, AWAY)

    with futures.ThreadPoolExecutor(1) as pool:
        yield pool.submit(happen)


def judge(told: report.Report) -> None:
    """How soon it recovered is for the long form to say: this runs on machines of any load."""
    why = f"seed {told.seed}\n{told.verdict}\nrecoveries {told.recoveries}\n{told.error}"
    assert not told.error, why
    assert told.verdict is not None, why
    assert told.verdict.good, why


@pytest.mark.timeout(600)  # On a machine with much else to do it takes three times as long.
def test_nothing_is_lost_doubled_or_changed_by_one_fault_of_each_kind(
    nursery, away, kafka_server, postgres_server, tmp_path: pathlib.Path
) -> None:
    """Catches an answer before the log has the event, a commit before the sink's answer or the letter, a zombie's late write."""
    servers = stage.Servers(
        nodes=[kafka_server.broker], bootstrap=[kafka_server.bootstrap], replication=1, postgres=postgres_server
    )
    told = stage.happen(together.IN_TURN, nursery, servers, tmp_path, SEED, stage.SHORT)
    judge(told)


@pytest.mark.timeout(600)  # On a machine with much else to do it takes three times as long.
def test_one_of_two_sinks_that_is_killed_costs_no_row_in_postgres_nor_clickhouse(
    nursery, kafka_server, postgres_server, clickhouse_server, tmp_path: pathlib.Path
) -> None:
    """Catches a write that is given to the other process as if it were new, and a process that stays away once it was."""
    servers = stage.Servers(
        nodes=[kafka_server.broker],
        bootstrap=[kafka_server.bootstrap],
        replication=1,
        postgres=postgres_server,
        clickhouse=clickhouse_server,
    )
    judge(stage.happen(together.ONE_SINK, nursery, servers, tmp_path, SEED, stage.SHORT))


@pytest.mark.timeout(600)  # On a machine with much else to do it takes three times as long.
def test_nothing_is_lost_doubled_or_changed_while_the_broker_is_away_for_a_minute(away) -> None:
    """Catches a process that ends or falls silent, a producer that gives up and forgets, a wait that outlasts the fault."""
    told = away.result()
    judge(told)
