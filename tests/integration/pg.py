"""A Postgres sink on a database of a test's own, and what stands in its tables afterwards."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import AsyncIterator

import asyncpg
from tests.unit.sinks import writes

from penstock.core import failpoints
from penstock.sinks import tables
from penstock.sinks.postgres import server, table, writer


def settings(dsn: str, **told: object) -> writer.Settings:
    """Settings of a sink on the database, with members replaced; `user`, `password` and the like go to the server."""
    at = urllib.parse.urlsplit(dsn)
    own = {name: told.pop(name) for name in ("host", "port", "user", "password", "tls", "database") if name in told}
    place = {"host": at.hostname, "port": at.port, "database": at.path[1:], "user": lambda: "postgres"}
    usual = {
        "state_schema": "penstock",
        "max_connections": 8,
        "upsert": None,
        "table_policy": tables.TablePolicy.CREATE_IF_MISSING,
        "timeout_seconds": 10.0,
    }
    return writer.Settings(server=server.Server(**{**place, **own}), **{**usual, **told})


def upsert(*key: str, version: str | None = None) -> table.Upsert:
    return table.Upsert(key=key, version=version)


@contextlib.asynccontextmanager
async def opened(
    dsn: str, *, failpoint: failpoints.Failpoint = failpoints.nothing, **told: object
) -> AsyncIterator[writer.PostgresWriter]:
    """A writer, closed at the end."""
    found = writer.PostgresWriter(settings(dsn, **told), failpoint=failpoint)
    try:
        yield found
    finally:
        await found.close()


async def run(dsn: str, sql: str, *arguments: object) -> list[tuple[object, ...]]:
    """The rows of one statement."""
    connection = await asyncpg.connect(dsn)
    try:
        if not arguments and ";" in sql:
            await connection.execute(sql)
            return []
        return [tuple(row) for row in await connection.fetch(sql, *arguments)]
    finally:
        await connection.close()


async def emptied(dsn: str) -> None:
    """Leave nothing in the database."""
    await run(dsn, "DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO public;")
    await run(dsn, "DROP SCHEMA IF EXISTS penstock CASCADE;")


async def landed_ids(dsn: str, name: str = "clicks") -> list[int]:
    return [row[0] for row in await run(dsn, f"SELECT id FROM {name} ORDER BY id")]


SCHEMA = writes.numbered(0, 0).schema
