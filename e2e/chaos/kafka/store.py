"""The stores behind the sinks: their tables made before, their rows read back as arrays."""

from __future__ import annotations

import asyncio
import io
import urllib.parse
from typing import Any, Protocol

import asyncpg
import numpy as np
from pyarrow import csv
from tests.servers import clickhouse, postgres

from e2e.chaos.kafka import stream
from e2e.checker import columns

_SELECT = "SELECT number, coalesce(item_no, 0), value, coalesce(item, -1) FROM orders"
_BY_CUSTOMER = "SELECT customer, count(*) FROM orders GROUP BY customer"


class Store(Protocol):
    """`secrets` are what its sink's process must be told."""

    secrets: dict[str, str]

    def sink(self, name: str) -> dict[str, Any]:
        """Its entry in the pipeline."""

    def rows(self, mix: stream.Mix) -> columns.Rows: ...

    def landed(self) -> dict[int, int]:
        """Rows by customer so far. Raises OSError while it does not answer."""


def _batching(rows: int = 2_000) -> dict[str, Any]:
    """Retries and the circuit stay as a user has them: how soon a store is found again is a part of what is tested."""
    return {"batching": {"static": {"rows": rows, "lingerMilliseconds": 100}}}


class PostgresStore:
    """A database of the load's own; the table refuses values below 0."""

    secrets = {"PENSTOCK_SECRET_PG_USERNAME": postgres.USER, "PENSTOCK_SECRET_PG_PASSWORD": "x"}  # noqa: RUF012

    def __init__(self, server: postgres.Postgres, name: str, tablespace: str = "") -> None:
        self.server, self.dsn = server, server.createdb(name)
        where = f" TABLESPACE {tablespace}" if tablespace else ""
        self.run(
            "CREATE TABLE orders (id text, customer bigint, number bigint, value bigint CHECK (value >= 0), item_no bigint,"
            f" item bigint, doubled bigint){where}"
        )

    def sink(self, name: str) -> dict[str, Any]:
        at = urllib.parse.urlsplit(self.dsn)
        own = {"host": at.hostname, "port": at.port, "database": at.path[1:], "table": "orders"}
        return {
            "name": name,
            "type": "Postgres",
            "postgres": own | {"authentication": {"type": "Basic", "secretRef": {"name": "pg"}}},
        } | _batching()

    def run(self, sql: str) -> list[tuple[int, ...]]:
        """The rows of one statement. Raises OSError while the server does not answer."""
        try:
            return asyncio.run(self._run(sql))
        except (asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            raise OSError(str(error)) from error

    async def _run(self, sql: str) -> list[tuple[int, ...]]:
        connection = await asyncpg.connect(self.dsn, timeout=5.0)
        try:
            return [tuple(row) for row in await connection.fetch(sql, timeout=60.0)]
        finally:
            await connection.close(timeout=5.0)

    def rows(self, mix: stream.Mix) -> columns.Rows:
        found = np.array(self.run(_SELECT), dtype=np.int64).reshape(-1, 4)
        return stream.rows(found[:, 0], found[:, 1], found[:, 2], found[:, 3], mix)

    def landed(self) -> dict[int, int]:
        return {row[0]: row[1] for row in self.run(_BY_CUSTOMER)}


class ClickHouseStore:
    """A database of the load's own; it remembers the tokens of so many blocks that none is forgotten while a load lasts."""

    secrets = {"PENSTOCK_SECRET_CH_USERNAME": clickhouse.USER, "PENSTOCK_SECRET_CH_PASSWORD": clickhouse.PASSWORD}  # noqa: RUF012

    def __init__(self, server: clickhouse.ClickHouse, name: str) -> None:
        self.server, self._name = server, name
        server.query(f"CREATE DATABASE {name} ENGINE = Atomic")
        server.query(
            "CREATE TABLE orders (id String, customer Int64, number Int64, value Int64, item_no Nullable(Int64),"
            " item Nullable(Int64), doubled Nullable(Int64), CONSTRAINT positive CHECK value >= 0)"
            " ENGINE = MergeTree ORDER BY number SETTINGS non_replicated_deduplication_window = 10000",
            name,
        )

    def sink(self, name: str) -> dict[str, Any]:
        own = {"url": self.server.url, "database": self._name, "table": "orders"}
        return {
            "name": name,
            "type": "ClickHouse",
            "clickHouse": own | {"authentication": {"type": "Basic", "secretRef": {"name": "ch"}}},
        } | _batching(5_000)

    def rows(self, mix: stream.Mix) -> columns.Rows:
        text = self.server.query(f"{_SELECT} FORMAT CSV", self._name)
        if not text:
            none = np.zeros(0, np.int64)
            return stream.rows(none, none, none, none, mix)
        names = csv.ReadOptions(column_names=["number", "place", "value", "item"])
        table = csv.read_csv(io.BytesIO(text.encode()), read_options=names)
        found = [table.column(name).to_numpy().astype(np.int64) for name in names.column_names]
        return stream.rows(found[0], found[1], found[2], found[3], mix)

    def landed(self) -> dict[int, int]:
        try:
            text = self.server.query(_BY_CUSTOMER, self._name)
        except clickhouse.RefusedError as error:
            raise OSError(str(error)) from error
        return {int(customer): int(count) for customer, count in (line.split("\t") for line in text.splitlines())}
