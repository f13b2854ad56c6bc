"""The servers as fixtures: each started when the first test asks, for the whole run; README.md says how to use them."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from typing import Protocol

import pytest
from e2e.cluster import cache
from e2e.cluster.local import binaries
from tests.servers import clickhouse, helm, installed, kafka, kubernetes, postgres


class Server(Protocol):
    """What is started for a fixture, and asked for its log when a test fails."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def last_words(self) -> str: ...


SHOWN = pytest.StashKey[dict[str, Server]]()


@pytest.fixture(scope="session")
def installed_servers() -> installed.Servers:
    try:
        return installed.found()
    except installed.MissingServersError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kafka_server(installed_servers: installed.Servers, pytestconfig: pytest.Config) -> Iterator[kafka.Kafka]:
    """The broker; what a test makes in it needs a name of the test's own."""
    with _directory("kafka") as directory:
        server = kafka.Kafka(installed_servers, directory)
        server.format()
        with _running(server.broker, "kafka_server", pytestconfig):
            yield server


@pytest.fixture(scope="session")
def postgres_server(installed_servers: installed.Servers, pytestconfig: pytest.Config) -> Iterator[postgres.Postgres]:
    with _directory("postgres") as directory:
        server = postgres.Postgres(installed_servers, directory)
        server.initialise()
        with _running(server.server, "postgres_server", pytestconfig):
            yield server


@pytest.fixture
def postgres_dsn(postgres_server: postgres.Postgres) -> str:
    """An empty database of this test's own."""
    return postgres_server.createdb(f"t{uuid.uuid4().hex}")


@pytest.fixture(scope="session")
def clickhouse_server(installed_servers: installed.Servers, pytestconfig: pytest.Config) -> Iterator[clickhouse.ClickHouse]:
    with _directory("clickhouse") as directory:
        server = clickhouse.ClickHouse(installed_servers, directory)
        with _running(server.server, "clickhouse_server", pytestconfig):
            yield server


@pytest.fixture
def clickhouse_database(clickhouse_server: clickhouse.ClickHouse) -> Iterator[str]:
    """An empty database of this test's own."""
    name = f"t{uuid.uuid4().hex}"
    clickhouse_server.query(f"CREATE DATABASE {name} ENGINE = Atomic")
    yield name
    clickhouse_server.query(f"DROP DATABASE {name} SYNC")


@pytest.fixture(scope="session")
def kubernetes_server(pytestconfig: pytest.Config) -> Iterator[kubernetes.Kubernetes]:
    with _kubernetes("kubernetes_server", pytestconfig) as server:
        yield server


@pytest.fixture(scope="module")
def own_kubernetes(pytestconfig: pytest.Config) -> Iterator[kubernetes.Kubernetes]:
    """One that no other module has put kinds into, for tests of how they get there."""
    with _kubernetes("own_kubernetes", pytestconfig) as server:
        yield server


@pytest.fixture(scope="session")
def helm_program() -> Iterator[helm.Helm]:
    """Helm without a cluster; `.of(kubeconfig)` has one."""
    try:
        programs = binaries.found(binaries.HELM)
    except cache.MissingError as error:
        pytest.skip(str(error))
    with _directory("helm") as home:
        yield helm.Helm(programs, home)


@pytest.fixture
def kubernetes_namespace(kubernetes_server: kubernetes.Kubernetes) -> Iterator[str]:
    """An empty namespace of this test's own."""
    with namespace(kubernetes_server) as name:
        yield name


@contextlib.contextmanager
def namespace(server: kubernetes.Kubernetes) -> Iterator[str]:
    """An empty one; deleted afterwards, without waiting for it."""
    name = f"t{uuid.uuid4().hex}"
    server.kubectl("create", "namespace", name)
    yield name
    server.kubectl("delete", "namespace", name, "--wait=false")


def show_logs(item: pytest.Item, report: pytest.TestReport) -> None:
    """Add the end of each running server's log to a failed test that used it."""
    names = set(getattr(item, "fixturenames", ()))
    for name, server in item.config.stash.get(SHOWN, {}).items():
        if report.failed and name in names:
            report.sections.append((f"log of {name}", server.last_words()))


@contextlib.contextmanager
def _directory(name: str) -> Iterator[pathlib.Path]:
    """Not pytest's own: Postgres runs as another user where the tests run as root, and couldn't look into it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix=f"penstock-{name}-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _kubernetes(name: str, config: pytest.Config) -> Iterator[kubernetes.Kubernetes]:
    try:
        programs = binaries.found(binaries.CONTROL_PLANE)
    except cache.MissingError as error:
        pytest.skip(str(error))
    with _directory("kubernetes") as directory:
        server = kubernetes.Kubernetes(programs, directory)
        with _running(server, name, config):
            yield server


@contextlib.contextmanager
def _running(server: Server, name: str, config: pytest.Config) -> Iterator[None]:
    config.stash.setdefault(SHOWN, {})[name] = server
    try:
        server.start()
        yield
    finally:
        server.stop()
