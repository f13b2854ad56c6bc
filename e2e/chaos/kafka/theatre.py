"""The servers that the long form starts for itself: one or three brokers, Postgres, the ClickHouse engine."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator

from tests.servers import clickhouse, installed, kafka_cluster, postgres

from e2e.chaos.kafka import proxy, stage
from penstock.cli import background


@contextlib.contextmanager
def opened(brokers: int) -> Iterator[stage.Servers]:
    """All of them, in a folder of their own; ended at the end."""
    there = installed.found()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-servers-", ignore_cleanup_errors=True))
        )
        # Postgres runs as somebody else where this is root.
        folder.chmod(0o755)
        around = stack.enter_context(proxy.Proxy(background.free_port()))
        cluster = stack.enter_context(kafka_cluster.Cluster(there, folder / "kafka", brokers, {1: around.port}))
        around.target = cluster.nodes[0].ports.roundabout
        for name in (place := folder / "postgres", other := folder / "clickhouse"):
            name.mkdir()
        database = postgres.Postgres(there, place)
        database.initialise()
        columnar = clickhouse.ClickHouse(there, other)
        for server in (database.server, columnar.server):
            stack.callback(server.stop)
            server.start()
        yield stage.Servers(
            nodes=[node.server for node in cluster.nodes],
            bootstrap=cluster.bootstrap,
            replication=cluster.replication,
            postgres=database,
            clickhouse=columnar,
            roundabout=around if brokers == 1 else None,
        )
