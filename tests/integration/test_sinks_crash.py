"""kill -9 of a process that writes to a store, at every step of a write and at random moments."""

from __future__ import annotations

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
from tests.integration import sink_child
from tests.unit.sinks import stores

from penstock.core import failpoints

REPOSITORY = pathlib.Path(__file__).parents[2]
BLOCKS = 6
RANDOM_KILLS = 5


def child(store: str, root: pathlib.Path, start: int, end: int, step: str = "", nth: int = 1) -> subprocess.Popen[str]:
    """The process of `sink_child`, started."""
    path = os.pathsep.join((str(REPOSITORY / "services"), str(REPOSITORY)))
    arguments = [store, str(root), str(start), str(end), step, str(nth)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.sink_child", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answered(process: subprocess.Popen[str]) -> list[int]:
    """Offsets whose writes were answered, after the process was killed."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    return [int(line) for line in out.splitlines()]


def assert_each_row_once(store: str, root: pathlib.Path, blocks: int) -> None:
    assert stores.landed_ids(store, root) == list(range(blocks * sink_child.ROWS_PER_BLOCK))
    assert list(root.glob("_penstock/tmp/*")) == []


@pytest.mark.parametrize(
    ("store", "step", "nth"),
    [
        ("DuckDB", "inserted", 3),
        ("DuckDB", "journalled", 3),
        ("DuckDB", "committed", 3),
        ("Parquet", "folded", 1),
        ("Parquet", "temporary", 8),
        ("Parquet", "complete", 3),
        ("Parquet", "intended", 3),
        ("Parquet", "moved", 8),
        ("Parquet", "landed", 3),
        ("Ndjson", "moved", 7),
    ],
)
def test_killed_at_any_step_each_row_lands_exactly_once(tmp_path: pathlib.Path, store: str, step: str, nth: int) -> None:
    """Catches rows without their range or a range without its rows, an intent that is not redone, files left half moved."""
    assert len(answered(child(store, tmp_path, 0, BLOCKS, step, nth))) < BLOCKS
    # What was answered was not committed: the successor sends all of it again.
    sink_child.write_blocks(store, tmp_path, 0, BLOCKS, failpoints.nothing)
    assert_each_row_once(store, tmp_path, BLOCKS)


@pytest.mark.parametrize("store", ["DuckDB", "Parquet"])
def test_killed_at_random_moments_each_row_lands_exactly_once(tmp_path: pathlib.Path, store: str) -> None:
    """Catches what the named steps miss: a kill inside a system call, or inside the store's own commit."""
    chance, start, end = random.Random(7), 0, 10_000
    for _ in range(RANDOM_KILLS):
        process = child(store, tmp_path, max(0, start - 2), end)
        first = int(process.stdout.readline())
        time.sleep(chance.uniform(0.0, 0.1))
        process.kill()
        start = max([first, *answered(process)]) + 1
    # One block beyond what was answered may have landed; two are sent again.
    sink_child.write_blocks(store, tmp_path, max(0, start - 2), start + 3, failpoints.nothing)
    assert_each_row_once(store, tmp_path, start + 3)
