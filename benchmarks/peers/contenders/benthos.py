"""Benthos core, configured by the files in programs/benthos; two processes where events come as requests."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from tests.servers import process as servers

from benchmarks.peers import broker, contender, filling, jobs, process, sending, tools
from penstock.cli import background

_SCRIPTS = tools.PROGRAMS / "benthos"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Benthos:
    name: str = "Benthos core"
    says: str = (
        "one stream, memory cache for the ids, JSON lines; franz-go for Kafka, without the metadata that Redpanda Connect copies "
        "into each message; `ingest` is an `http_server` stream into Kafka and a second one out of it, no key, no Parquet"
    )

    def version(self) -> str:
        modules = dict(re.findall(r"^\s+github\.com/(\S+) (v\S+)$", (_SCRIPTS / "go.mod").read_text(), flags=re.MULTILINE))
        return f"{modules['redpanda-data/benthos/v4']}, franz-go {modules['twmb/franz-go']}"

    def offers(self, job: jobs.Job) -> bool:
        return True

    def run(self, task: contender.Task) -> contender.Done:
        used = {"door": _door(task)} if task.job.source == "requests" else {}
        # A door that has sent a batch again has written more records than it took.
        count = broker.records(task.bootstrap, task.topic)
        stream = _stream("explode" if task.job.into == "topic" else "land", task, count=count)
        try:
            used["stream"] = stream.ended()
        finally:
            stream.kill()
        return contender.Done(cpu_seconds=used, files=[*task.folder.glob("landed.ndjson")])


def _door(task: contender.Task) -> float:
    """All events taken in, and the door closed."""
    port = background.free_port()
    door = _stream("door", task, port=port)
    try:
        door.wait_until(lambda: servers.accepts(port), seconds=60)
        sending.post(f"http://127.0.0.1:{port}/events", task.events)
        return door.stopped()
    finally:
        door.kill()


def _stream(script: str, task: contender.Task, **further: object) -> process.Process:
    path: pathlib.Path = filling.filled(_SCRIPTS / f"{script}.yaml", task, **further)
    return process.Process(script, [str(tools.benthos()), str(path)], task.folder)
