"""Penstock as in a cluster: a sink, a batcher and, where events come as requests, the doors, each a process of its own.

The pipeline is the one of the other benchmarks with its log in Kafka, another source and another sink.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

import penstock
from benchmarks import events
from benchmarks.peers import contender, filling, jobs, process, sending, tools
from penstock.cli import background, control, exits
from penstock.v1 import control_pb2

_START_SECONDS = 120.0
_CALL_SECONDS = 10.0
_PARTITIONS = 2
_LOOK_SECONDS = 0.5  # each look is work for the one that is measured


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Penstock:
    """`format` of the files it writes, and the door its events come through."""

    name: str
    says: str
    format: Literal["Ndjson", "Parquet"]
    door: Literal["http", "grpc"] = "http"
    doing: tuple[str, ...]

    def version(self) -> str:
        return penstock.__version__

    def offers(self, job: jobs.Job) -> bool:
        return job.name in self.doing

    def run(self, task: contender.Task) -> contender.Done:
        file = self._pipeline(task)
        sink_port = background.free_port()
        with contextlib.ExitStack() as running:
            sink = running.enter_context(_role("sink", file, "out", f"--listen=127.0.0.1:{sink_port}"))
            batcher = running.enter_context(_role("batcher", file, "--sink=out", f"--sink-address=127.0.0.1:{sink_port}"))
            roles = [batcher, sink]
            if task.job.source == "requests":
                roles.insert(0, running.enter_context(_role("ingest", file, doors=("http", "grpc"))))
            for role in roles:
                role.wait_until_ready()
            if task.job.source == "requests":
                self._send(task, roles[0])
            batcher.process.wait_until(lambda: batcher.has_finished(task.count), look_seconds=_LOOK_SECONDS)
            used = {role.name: role.process.stopped() for role in roles}
        files = [path for path in (task.folder / "landed").rglob("*.*") if path.suffix in {".parquet", ".ndjson"}]
        return contender.Done(cpu_seconds=used, files=files)

    def _pipeline(self, task: contender.Task) -> pathlib.Path:
        if task.job.into == "topic":
            return filling.filled(tools.PROGRAMS / "penstock" / "explode.yaml", task)
        described = msgspec.yaml.decode(events.PIPELINE.read_bytes())
        described["metadata"]["name"] = f"peer-{task.into}"
        described["spec"] |= self._spec(task)
        path = task.folder / "pipeline.yaml"
        path.write_bytes(msgspec.yaml.encode(described))
        return path

    def _spec(self, task: contender.Task) -> dict[str, Any]:
        servers = {"bootstrapServers": [task.bootstrap]}
        changed: dict[str, Any] = {
            "log": {"type": "Kafka", "kafka": servers | {"partitions": _PARTITIONS, "replicationFactor": 1}},
            "sinks": [
                {
                    "name": "out",
                    "type": "Files",
                    "files": {"url": f"file://{task.folder}/landed", "format": self.format},
                    "batching": {"static": {"rows": 100_000, "lingerMilliseconds": 500}},
                }
            ],
        }
        if task.job.source == "topic":
            reading = servers | {"topics": [task.topic], "startFrom": {"type": "Earliest"}}
            changed["source"] = {"type": "Kafka", "kafka": reading}
        return changed

    def _send(self, task: contender.Task, doors: _Role) -> None:
        if self.door == "http":
            sending.post(f"http://127.0.0.1:{doors.ports['http']}/v1/events/batch", task.events)
            return
        target = f"--to=127.0.0.1:{doors.ports['grpc']}"
        command = [sys.executable, "-m", "penstock.cli.main", "send", str(task.events), target, "--batch=2000"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise process.ContenderError(f"penstock send: {done.stderr[-300:]}")


class _Role:
    """One command of a pipeline, with ports of its own."""

    def __init__(self, name: str, file: pathlib.Path, *arguments: str, doors: tuple[str, ...]) -> None:
        self.name = name
        self.ports = {door: background.free_port() for door in ("control", "metrics", *doors)}
        addresses = [f"--{door}=127.0.0.1:{port}" for door, port in self.ports.items()]
        command = [sys.executable, "-m", "penstock.cli.main", name, str(file), *arguments, *addresses]
        self.process = process.Process(name, command, file.parent)

    def wait_until_ready(self) -> None:
        self.process.wait_until(self._is_ready, _START_SECONDS)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['metrics']}/readyz", timeout=_CALL_SECONDS) as answer:
                return bool(answer.status == 200)
        except (urllib.error.HTTPError, OSError):
            return False

    def has_finished(self, count: int) -> bool:
        """Whether the lane has read `count` events and landed what they made. Raises ContenderError when it has halted."""
        try:
            with control.connected(f"127.0.0.1:{self.ports['control']}") as stub:
                (lane,) = stub.Status(control_pb2.StatusRequest(), timeout=_CALL_SECONDS).lanes
        except (control.NotRunningError, exits.Unreachable):
            return False
        if lane.state == "Halted":
            raise process.ContenderError(f"the lane has halted: {lane.message}")
        return background.is_idle(lane) and bool(lane.ledger.events_read >= count)


@contextlib.contextmanager
def _role(name: str, file: pathlib.Path, *arguments: str, doors: tuple[str, ...] = ()) -> Iterator[_Role]:
    role = _Role(name, file, *arguments, doors=doors)
    try:
        yield role
    finally:
        role.process.kill()


_SAYS = "`penstock batcher` and `penstock sink`, each row landed once, everything counted, batches of 100,000 rows"

ALL = (
    Penstock(name="Penstock", says=f"{_SAYS}; JSON lines as the others write", format="Ndjson", doing=("explode", "land")),
    Penstock(name="Penstock, Parquet", says="the same, to Parquet", format="Parquet", doing=("land",)),
    Penstock(
        name="Penstock, HTTP to Parquet",
        says="`penstock ingest` in front, requests over HTTP, Parquet",
        format="Parquet",
        doing=("ingest",),
    ),
    Penstock(name="Penstock, gRPC to Parquet", says="the same over gRPC", format="Parquet", door="grpc", doing=("ingest",)),
)
