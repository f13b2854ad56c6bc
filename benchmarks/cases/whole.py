"""`pipeline`: a real `penstock run`, fed by `penstock send`, its CPU from first to last instruction.

Two sizes are run and the slope between them is what an event costs: start-up and shut-down are in both. The sender is
another process and is not counted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import duckdb

from benchmarks import case, events
from benchmarks.references import pipeline as plain
from penstock.cli import demo_run

_SIZES = (100_000, 400_000)
_QUICK_SIZES = (1_000, 5_000)
_LOOK_SECONDS = 0.25
_SETTLE_SECONDS = 180.0


class NotSettledError(Exception):
    """The pipeline has not landed everything in time."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """What one run came to: CPU seconds of the process, and its rows as two numbers."""

    cpu_seconds: float
    rows: int
    checksum: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PipelineCase:
    name: str = "pipeline"
    gated: bool = False

    def measure(self, effort: case.Effort) -> case.Measured:
        """Raises DifferentOutputError, NotSettledError."""
        sizes = _QUICK_SIZES if effort.quick else _SIZES
        with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
            files = [_written(pathlib.Path(folder) / f"{size}.ndjson", size) for size in sizes]
            if not effort.quick:
                _sample([files[0], files[0]], sizes)  # the first start reads everything from disk
            samples = [_sample(files, sizes) for _ in range(1 if effort.quick else effort.rounds)]
        return case.Measured(
            name=self.name,
            unit="event",
            says="penstock run with gRPC, log, deduplicate, filter, nine computed columns, DuckDB; beside one plain process "
            "that keeps nothing",
            target=case.Target(cpu_us=6),
            events=sizes[1] - sizes[0],
            samples=samples,
            extra={"sizes": sizes},
        )


def _written(path: pathlib.Path, count: int) -> pathlib.Path:
    with path.open("wb") as file:
        file.writelines(document + b"\n" for document in events.with_duplicates(count))
    return path


def _sample(files: list[pathlib.Path], sizes: tuple[int, int]) -> case.Sample:
    landed, expected = [_piped(path) for path in files], [_plainly(path) for path in files]
    for ours, theirs in zip(landed, expected, strict=True):
        case.require_same("pipeline", (ours.rows, ours.checksum), (theirs.rows, theirs.checksum))
    return case.Sample(product_us=_slope(landed, sizes), reference_us=_slope(expected, sizes))


def _slope(runs: list[Landed], sizes: tuple[int, int]) -> float:
    small, large = runs
    return (large.cpu_seconds - small.cpu_seconds) / (sizes[1] - sizes[0]) * 1e6


def _piped(path: pathlib.Path) -> Landed:
    """One run of the product, drained and ended as by Ctrl-C."""
    build = path.with_suffix("")
    run = demo_run.DemoRun(build, path, pipeline=events.PIPELINE, events_per_request=2_000)
    try:
        run.start_pipeline()
        run.start_sender()
        _settle(run)
        with _children_cpu() as spent:
            run.stop_pipeline()
    finally:
        run.close()
    with contextlib.closing(duckdb.connect(build / "run" / "bench.duckdb", config={"threads": "1"})) as connection:
        # Like the pipeline: hashing a time must not depend on the machine's zone.
        connection.execute("SET TimeZone = 'UTC'")
        rows, checksum = connection.execute(plain.checksum_sql()).fetchall()[0]
    return Landed(cpu_seconds=spent[0], rows=rows, checksum=checksum)


def _settle(run: demo_run.DemoRun) -> None:
    deadline = time.monotonic() + _SETTLE_SECONDS
    while not run.sender_done:
        time.sleep(_LOOK_SECONDS)
        _check(run, deadline)
    while not run.is_settled(run.status()):
        time.sleep(_LOOK_SECONDS)
        _check(run, deadline)


def _check(run: demo_run.DemoRun, deadline: float) -> None:
    if time.monotonic() > deadline:
        raise NotSettledError(f"not settled within {_SETTLE_SECONDS:.0f} s:\n{run.log_tail('pipeline')}")


def _plainly(path: pathlib.Path) -> Landed:
    """One run of the reference."""
    with _children_cpu() as spent:
        done = subprocess.run(
            [sys.executable, "-m", plain.__name__, str(path)],
            cwd=pathlib.Path(__file__).parents[2],
            capture_output=True,
            check=True,
        )
    told: dict[str, Any] = json.loads(done.stdout)
    return Landed(cpu_seconds=spent[0], rows=told["rows"], checksum=told["checksum"])


@contextlib.contextmanager
def _children_cpu() -> Iterator[list[float]]:
    """CPU seconds, from start to end, of the child processes that end inside."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent: list[float] = []
    yield spent
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


CASES = [PipelineCase()]
