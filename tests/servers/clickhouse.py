"""The real ClickHouse engine behind a small HTTP front (`clickhouse_front`), as a process of its own."""

from __future__ import annotations

import os
import pathlib
import sys
import urllib.error
import urllib.parse
import urllib.request

from tests.servers import installed, process

from penstock.cli import background

USER = "default"
PASSWORD = "not a secret"
_FRONT = pathlib.Path(__file__).with_name("clickhouse_front.py")


class RefusedError(Exception):
    """The engine's answer to a query of `ClickHouse.query`."""


class ClickHouse:
    """`url`, for USER with PASSWORD. `query` is for a test's own questions."""

    def __init__(self, servers: installed.Servers, directory: pathlib.Path) -> None:
        self.port = background.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = process.Process(
            [sys.executable, str(_FRONT), "--port", str(self.port), "--data", str(directory / "data"), "--password", PASSWORD],
            directory / "clickhouse.log",
            lambda: process.accepts(self.port),
            environment={**os.environ, "PYTHONPATH": str(servers.wheels), "TMPDIR": str(directory)},
        )

    def query(self, sql: str, database: str = "default") -> str:
        """The answer as text, tab-separated unless `sql` names a format. Raises RefusedError."""
        parameters = urllib.parse.urlencode({"database": database})
        headers = {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD}
        request = urllib.request.Request(f"{self.url}/?{parameters}", data=sql.encode(), headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            raise RefusedError(error.read().decode()) from None
