"""A lane into the real ClickHouse engine, and the same lane as a process that kills itself at a named step.

Run as a program: arguments DIRECTORY URL DATABASE FAILPOINTS; it lands what its log holds, unless it dies before.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import subprocess
import sys
from typing import Any

import msgspec
from tests.integration import lane_run
from tests.servers import clickhouse

from penstock.api.model import sinks as api_sinks
from penstock.core import failpoints
from penstock.machine import failpoints as armed
from penstock.sinks import port as sinks_port
from penstock.sinks import registry

TABLE = """
CREATE TABLE clicks (id String, num Nullable(Int64), kind Int32) ENGINE = MergeTree ORDER BY id
SETTINGS non_replicated_deduplication_window = 10000
"""
BAD = "not a number"
"""A `kind` that the column refuses."""


def pipeline(url: str, database: str, rows: int = 10, writeTimeoutSeconds: int = 5, **spec: Any) -> str:  # noqa: N803 - as in the object
    """The lane tests' pipeline, into `database`.clicks, in batches of `rows`."""
    described = msgspec.yaml.decode(lane_run.pipeline(**spec))
    (sink,) = described["spec"]["sinks"]
    del sink["duckDB"]
    own = {"url": url, "database": database, "table": "clicks", "authentication": {"type": "Basic", "secretRef": {"name": "ch"}}}
    sink |= {"type": "ClickHouse", "clickHouse": own, "writeTimeoutSeconds": writeTimeoutSeconds}
    sink["batching"] |= {"static": {"rows": rows, "lingerMilliseconds": 20, "concurrency": 2}, "limits": {"rows": rows + 2}}
    described["spec"]["transform"] = {"select": [{"name": "id"}, {"name": "num"}, {"name": "kind"}]} | spec.get("transform", {})
    return msgspec.yaml.encode(described).decode()


def secret(name: str, key: str) -> str:
    assert name == "ch"
    return {"username": clickhouse.USER, "password": clickhouse.PASSWORD}[key]


def opened(path: pathlib.Path, text: str, failpoint: failpoints.Failpoint = failpoints.nothing) -> lane_run.LaneRun:
    """The lane over a log in `path`."""

    def store(sink: api_sinks.Sink, directory: pathlib.Path) -> sinks_port.SinkWriter:
        return registry.open_writer(sink, directory=directory, secrets=secret, failpoint=failpoint)

    run = lane_run.LaneRun(path, text, open_store=store)
    run.settings = dataclasses.replace(run.settings, failpoint=failpoint, flood=None)
    return run


def killed(path: pathlib.Path, url: str, database: str, orders: str) -> int:
    """Run the lane as a process that follows `orders`; its exit code."""
    command = [sys.executable, "-m", "tests.integration.clickhouse_lane", str(path), url, database, orders]
    root = pathlib.Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, timeout=60, check=False, capture_output=True).returncode


async def _land(path: pathlib.Path, text: str, failpoint: failpoints.Failpoint) -> None:
    async with opened(path, text, failpoint).opened() as run, run.lane() as lane:
        await lane_run.drained(lane)


if __name__ == "__main__":
    _directory, _url, _database, _orders = sys.argv[1:]
    asyncio.run(_land(pathlib.Path(_directory), pipeline(_url, _database), armed.armed(_orders)))
