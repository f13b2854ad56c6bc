"""Real servers for the tests that ask for them; tests/servers/README.md."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from tests.servers import fixtures
from tests.servers.fixtures import (  # noqa: F401 - fixtures are found by name
    clickhouse_database,
    clickhouse_server,
    helm_program,
    installed_servers,
    kafka_server,
    kubernetes_namespace,
    kubernetes_server,
    own_kubernetes,
    postgres_dsn,
    postgres_server,
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    fixtures.show_logs(item, report)
    return report
