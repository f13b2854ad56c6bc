"""Rounds of one job: every contender on the same events, in turns, its output compared each time."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import statistics
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from benchmarks import machine
from benchmarks.peers import broker, comparison, contender, jobs, process, tools, workload


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One size of a job's workload."""

    count: int
    events: pathlib.Path
    expected: pathlib.Path
    topic: str
    """Filled, where the job's source is a topic; else empty text."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """CPU seconds of a contender's processes, and what the broker used meanwhile."""

    cpu_seconds: Mapping[str, float]
    broker_seconds: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one contender: CPU microseconds per event, the slope between the two sizes."""

    cpu_us: float
    parts_us: Mapping[str, float]
    broker_us: float
    start_seconds: float
    """What the line through both sizes leaves for no events."""


class Bench:
    """Runs in `folder` on one broker."""

    def __init__(self, server: broker.Broker, folder: pathlib.Path) -> None:
        self._server, self._folder = server, folder

    def measure(self, job: jobs.Job, chosen: Sequence[contender.Contender], rounds: int, *, quick: bool) -> dict[str, Any]:
        """The job's part of results.json. Who fails or gives other rows is left out from then on, with the reason."""
        load_before = machine.load_average()
        inputs = [self._input(job, size) for size in (job.quick_sizes if quick else job.sizes)]
        offering = [one for one in chosen if one.offers(job)]
        samples: dict[str, list[Sample]] = {one.name: [] for one in offering}
        faults: dict[str, str] = {}
        for turn in range(rounds):
            for one in _turned(offering, turn):
                if one.name not in faults:
                    self._round(job, one, inputs, samples, faults)
        self._server.drop([given.topic for given in inputs if given.topic])
        return {
            "name": job.name,
            "says": job.says,
            "sizes": [given.count for given in inputs],
            "rows": [_lines(given.expected) for given in inputs],
            "rounds": rounds,
            "quick": quick,
            "environment": {**machine.describe(), "load_before": load_before, "load_after": machine.load_average()},
            "contenders": [_entry(one, job, samples.get(one.name, ()), faults.get(one.name, "")) for one in chosen],
        }

    def _round(
        self,
        job: jobs.Job,
        one: contender.Contender,
        inputs: Sequence[Input],
        samples: dict[str, list[Sample]],
        faults: dict[str, str],
    ) -> None:
        started = time.monotonic()
        try:
            sample = _slope(inputs, [self._run(job, one, given) for given in inputs])
        except (process.ContenderError, tools.MissingToolError, duckdb.Error, broker.BrokerError) as error:
            faults[one.name] = " ".join(str(error).split())[:400]
            print(f"{job.name}: {one.name} does not count: {faults[one.name]}", file=sys.stderr, flush=True)
            return
        samples[one.name].append(sample)
        parts = ", ".join(f"{name} {spent:.2f}" for name, spent in sample.parts_us.items())
        took = time.monotonic() - started
        told = f"{sample.cpu_us:.2f} µs ({parts}), broker {sample.broker_us:.2f}, start {sample.start_seconds:.1f} s"
        print(f"{job.name}: {one.name:<28} {told}; {took:.0f} s, load {machine.load_average()[0]}", file=sys.stderr, flush=True)

    def _input(self, job: jobs.Job, count: int) -> Input:
        """The workload as files, and in a topic."""
        stem = self._folder / f"{job.name}-{count}"
        events = workload.write_lines(stem.with_suffix(".events"), job.documents(count))
        expected = workload.write_rows(stem.with_suffix(".expected"), job.rows(events))
        topic = ""
        if job.source == "topic":
            topic = self._server.make(f"{job.name}-{count}-{uuid.uuid4().hex[:8]}")
            self._server.fill(topic, events)
        return Input(count=count, events=events, expected=expected, topic=topic)

    def _run(self, job: jobs.Job, one: contender.Contender, given: Input) -> Run:
        """One run, compared. Raises ContenderError for rows that are not what they must be."""
        name = f"run-{uuid.uuid4().hex[:8]}"
        folder = self._folder / name
        folder.mkdir()
        made = [self._server.make(name)] if job.into == "topic" else []
        if not given.topic:
            made.append(self._server.make(f"{name}-between"))
        task = contender.Task(
            job=job,
            count=given.count,
            bootstrap=self._server.bootstrap,
            events=given.events,
            topic=given.topic or made[-1],
            into=name,
            folder=folder,
        )
        before = self._server.cpu_seconds()
        done = one.run(task)
        used = self._server.cpu_seconds() - before
        files = [self._server.read(name, folder / "read.ndjson")] if job.into == "topic" else done.files
        wrong = comparison.difference(given.expected, files, job.columns)
        if wrong is not None:
            raise process.ContenderError(f"other rows than the reference's: {wrong}")
        self._server.drop(made)
        shutil.rmtree(folder)
        return Run(cpu_seconds=done.cpu_seconds, broker_seconds=used)


def _lines(path: pathlib.Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _turned(offering: Sequence[contender.Contender], turn: int) -> list[contender.Contender]:
    """Who goes first changes from round to round."""
    first = turn % len(offering) if offering else 0
    return [*offering[first:], *offering[:first]]


def _slope(inputs: Sequence[Input], runs: Sequence[Run]) -> Sample:
    small, large = runs
    events = inputs[1].count - inputs[0].count
    parts = {name: (large.cpu_seconds[name] - small.cpu_seconds[name]) / events * 1e6 for name in large.cpu_seconds}
    total = sum(parts.values())
    return Sample(
        cpu_us=total,
        parts_us=parts,
        broker_us=(large.broker_seconds - small.broker_seconds) / events * 1e6,
        start_seconds=sum(small.cpu_seconds.values()) - total * inputs[0].count / 1e6,
    )


def _entry(one: contender.Contender, job: jobs.Job, samples: Sequence[Sample], fault: str) -> dict[str, Any]:
    """A contender's line: figures where it counts, else why it doesn't."""
    told: dict[str, Any] = {"name": one.name, "version": one.version(), "says": one.says, "offered": one.offers(job)}
    if fault or not samples:
        return told | {"fault": fault}
    return told | {
        "cpu_us": _median(sample.cpu_us for sample in samples),
        "range": [round(edge(sample.cpu_us for sample in samples), 3) for edge in (min, max)],
        "parts_us": {name: _median(sample.parts_us[name] for sample in samples) for name in samples[0].parts_us},
        "broker_us": _median(sample.broker_us for sample in samples),
        "start_seconds": _median(sample.start_seconds for sample in samples),
        "samples": [dataclasses.asdict(sample) for sample in samples],
    }


def _median(values: Any) -> float:
    return round(float(statistics.median(values)), 3)
