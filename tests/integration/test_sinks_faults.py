"""A store that another process holds, and a disk without room: outages that end by themselves."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from tests.unit.sinks import stores, writes

from penstock.core import results
from penstock.sinks import port
from penstock.sinks.duckdb import writer as duckdb
from penstock.sinks.files import writer as files

REPOSITORY = pathlib.Path(__file__).parents[2]

HOLDER = """
import pathlib, sys
from tests.unit.sinks import stores
session = stores.open_session(sys.argv[1], pathlib.Path(sys.argv[2]))
print("held", flush=True)
sys.stdin.readline()
"""

# The limit on a file's size stands in for a full disk: the write fails half-way, with an error of the system's own.
FULL = """
import pathlib, resource, sys
import pyarrow as pa
from tests.unit.sinks import stores, writes

store, root = sys.argv[1], pathlib.Path(sys.argv[2])

import asyncio
from penstock.core import results
from penstock.sinks import port
from penstock.sinks.duckdb import writer as duckdb
from penstock.sinks.files import writer as files

rows = pa.table({"id": pa.array(range(30_000), pa.int64()), "name": [f"{n * 7919 % 30011:x}" * 8 for n in range(30_000)]})

async def main():
    writer = duckdb.DuckDBWriter(root / "out.db") if store == "DuckDB" else files.FilesWriter(root)
    await writer.describe(writes.LANE, "clicks", rows.schema)
    await writer.write(writes.batch(rows.slice(0, 10), writes.span(0, 10)))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for _ in range(3):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            await writer.write(writes.batch(rows.slice(10), writes.span(10, 30_000)))
        except port.SinkError as error:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            assert error.failure.result_class is results.ResultClass.OUTAGE, error
            print(error)
        else:
            raise AssertionError("there was room")
    answer = await writer.write(writes.batch(rows.slice(10), writes.span(10, 30_000)))
    assert answer.written == 29_990, answer
    await writer.close()

asyncio.run(main())
"""


ELSEWHERE = """
import pathlib, sys
from penstock.sinks.duckdb import store as duckdb_store

store = duckdb_store.Store(pathlib.Path(sys.argv[1]))
store.connection.execute("CREATE TABLE t (moment TIMESTAMP)")
store.connection.execute("INSERT INTO t SELECT TIMESTAMPTZ '2026-01-01 00:00:00+00'")
print(store.connection.execute("SELECT CAST(moment AS VARCHAR) FROM t").fetchall()[0][0])
print(store.reader().execute("SELECT CAST(TIMESTAMPTZ '2026-01-01 00:00:00+00' AS VARCHAR)").fetchall()[0][0])
"""


def run(script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    path = os.pathsep.join((str(REPOSITORY / "services"), str(REPOSITORY)))
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("store", ["DuckDB", "Parquet"])
async def test_a_store_that_another_process_holds_is_an_outage_until_it_lets_go(tmp_path: pathlib.Path, store: str) -> None:
    """Catches a lane that pauses for good because somebody looked at the file, and a message that does not say who."""
    holder = run(HOLDER, store, str(tmp_path))
    assert holder.stdout.readline() == "held\n"
    writer = duckdb.DuckDBWriter(tmp_path / "out.db") if store == "DuckDB" else files.FilesWriter(tmp_path)
    schema = writes.numbered(0, 0).schema
    with pytest.raises(port.SinkError) as caught:
        await writer.describe(writes.LANE, "clicks", schema)
    failure = caught.value.failure
    assert (failure.code, failure.result_class) == ("LOCKED", results.ResultClass.OUTAGE)
    assert f"PID {holder.pid}" in failure.message
    assert str(tmp_path) in failure.message
    holder.communicate("\n", timeout=30)
    await writer.describe(writes.LANE, "clicks", schema)
    await writer.close()


@pytest.mark.parametrize("store", ["DuckDB", "Parquet"])
def test_without_room_nothing_lands_in_part_and_with_room_again_it_goes_on(tmp_path: pathlib.Path, store: str) -> None:
    """Catches a full disk that leaves half a write, that makes dead letters, or that takes a restart to get over."""
    process = run(FULL, store, str(tmp_path))
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    assert stores.landed_ids(store, tmp_path) == list(range(30_000))


def test_times_are_utc_wherever_the_machine_stands(tmp_path: pathlib.Path) -> None:
    """Catches casts and answers by the machine's own zone: the same event would land as another time on each laptop."""
    out, err = run(ELSEWHERE, str(tmp_path / "out.db"), TZ="America/New_York").communicate(timeout=60)
    assert out.splitlines() == ["2026-01-01 00:00:00", "2026-01-01 00:00:00+00"], err
