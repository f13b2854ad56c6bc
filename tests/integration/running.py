"""A small harness over `penstock run` as a process of its own: a pipeline to run, events to send, commands to try.

Waiting is always for something that can be seen, with a deadline that only a failure reaches.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import grpc
import msgspec
import pyarrow as pa
from pyarrow import dataset

from penstock.cli import background
from penstock.sinks.duckdb import query as duckdb_query
from penstock.sinks.duckdb import store as duckdb_store
from penstock.v1 import control_pb2, ingest_pb2, ingest_pb2_grpc

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
_LOOK_SECONDS = 0.02
_HOST = "http://127.0.0.1:"

PIPELINE = """
apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: orders, namespace: shop}
spec:
  log: {type: Embedded, embedded: {partitions: 2}}
  source: {type: Ingest, ingest: {partitionBy: [customer], maxEventBytes: 65536}}
  schema:
    fields:
      - {name: id, type: String, required: true}
      - {name: customer, type: Int64, required: true}
      - {name: region, type: String}
      - {name: note, type: String}
      - {name: items, type: List, element: {type: Int64}}
  deduplicate: {key: [customer, id]}
  transform:
    explode: {field: items, as: item, indexAs: item_no}
    filter: {expression: "note is null or note <> 'drop'"}
    select:
      - {name: id}
      - {name: customer}
      - {name: region, value: "coalesce(region, 'none')"}
      - {name: item_no}
      - {name: item}
      - {name: doubled, value: "cast(note as integer) * 2"}
  sinks:
    - name: warehouse
      type: DuckDB
      duckDB: {path: orders.duckdb, table: orders}
      batching: {static: {rows: 50, lingerMilliseconds: 20}}
    - name: archive
      type: Files
      when: "item is not null and item % 2 = 0"
      files: {url: "file://./archive", partition: [{name: region}]}
      batching: {static: {rows: 30, lingerMilliseconds: 20}}
"""


def changed(text: str = PIPELINE, **spec: Any) -> str:
    """The pipeline with members of its spec replaced, or left out where they are None."""
    described = msgspec.yaml.decode(text)
    for name, value in spec.items():
        described["spec"].pop(name, None)
        if value is not None:
            described["spec"][name] = value
    return msgspec.yaml.encode(described).decode()


def sinks(text: str = PIPELINE) -> list[dict[str, Any]]:
    """The sinks of a pipeline, to be changed."""
    found: list[dict[str, Any]] = msgspec.yaml.decode(text)["spec"]["sinks"]
    return found


def only_warehouse(**members: Any) -> list[dict[str, Any]]:
    """The DuckDB sink alone, with members of its own replaced."""
    return [sinks()[0] | members]


def event(number: int, **rest: Any) -> dict[str, Any]:
    """An event of the pipeline above; it makes `number` % 4 rows, or one where that is none."""
    items = [number * 10 + item for item in range(number % 4)]
    region = ("eu", "us", None)[number % 3]
    return {"id": f"e{number}", "customer": number % 7, "region": region, "items": items} | rest


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer of the HTTP door."""

    status: int
    body: Any


class Running:
    """One pipeline in the directory `path`. Use as a context; what still runs is killed at the end."""

    def __init__(self, path: pathlib.Path, text: str = PIPELINE, *, options: Sequence[str] = ()) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.file = path / "pipeline.yaml"
        self.file.write_text(text)
        self.pipeline = background.Pipeline(path, self.file, options=options)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipeline.kill()
        assert "Traceback" not in self.said

    def start(self, text: str | None = None) -> Running:
        if text is not None:
            self.file.write_text(text)
        self.pipeline.start()
        return self

    def refused(self, text: str | None = None) -> Said:
        """Start, and wait for the end that is expected; what was said since."""
        if text is not None:
            self.file.write_text(text)
        before = len(self.said)
        code = self.pipeline.spawn().wait(timeout=PATIENCE_SECONDS)
        return Said(code=code, out=(self.path / "pipeline.out").read_text(), err=self.said[before:])

    @property
    def said(self) -> str:
        """All that its processes have written to standard error."""
        log = self.path / "pipeline.log"
        return log.read_text(errors="replace") if log.exists() else ""

    # -- events

    def post(self, body: bytes, kind: str = "application/x-ndjson", path: str = "/v1/events/batch", **headers: str) -> Reply:
        """One request over HTTP. Raises OSError when nothing answers."""
        request = urllib.request.Request(
            f"{_HOST}{self.pipeline.ports['http']}{path}",
            data=body,
            headers={"Content-Type": kind} | {name.replace("_", "-"): value for name, value in headers.items()},
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
                return Reply(status=response.status, body=json.loads(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(status=error.code, body=json.loads(error.read()))

    def send(self, events: Iterable[dict[str, Any]]) -> int:
        """Events over HTTP; how many were accepted."""
        reply = self.post(ndjson(events))
        assert reply.status == 202, reply
        return int(reply.body["accepted"])

    def publish(self, request: ingest_pb2.PublishRequest) -> ingest_pb2.PublishResponse:
        """One request over gRPC. Raises grpc.RpcError."""
        with grpc.insecure_channel(f"127.0.0.1:{self.pipeline.ports['grpc']}") as channel:
            stub = ingest_pb2_grpc.IngestStub(channel)
            answer: ingest_pb2.PublishResponse = stub.Publish(request, timeout=PATIENCE_SECONDS, wait_for_ready=True)
            return answer

    # -- what became of them

    def status(self) -> control_pb2.StatusResponse:
        found = self.pipeline.status()
        assert found is not None, self.pipeline.log_tail()
        return found

    def settled(self) -> control_pb2.StatusResponse:
        """The status when all that was acknowledged has its outcome in every lane; the books balance at every look until then."""

        def look() -> control_pb2.StatusResponse | None:
            status = self.status()
            assert [(lane.ledger.unexplained, lane.ledger.events_lost) for lane in status.lanes] == [(0, 0)] * len(status.lanes)
            done = all(background.is_idle(lane) for lane in status.lanes)
            return status if done else None

        return until(look, self.pipeline.log_tail)

    def landed(self, sql: str = "SELECT id, item FROM orders ORDER BY ALL") -> list[tuple[Any, ...]]:
        """Rows of the warehouse, from the running pipeline or, when none runs, from its file."""
        if self.pipeline.status() is not None:
            found = self.pipeline.query(sql)
        else:
            found = duckdb_query.run(duckdb_store.open_read_only(self.path / "orders.duckdb"), sql)
        return [tuple(row.values()) for row in found.to_pylist()]

    def archived(self) -> pa.Table:
        """Rows of the archive, from its files."""
        files = [str(path) for path in (self.path / "archive").rglob("*.parquet") if "_penstock" not in path.parts]
        return dataset.dataset(files, partitioning=None).to_table()

    def metrics(self) -> dict[str, float]:
        """Every sample of the metrics port, by its name and labels as they are written."""
        with urllib.request.urlopen(f"{_HOST}{self.pipeline.ports['metrics']}/metrics", timeout=PATIENCE_SECONDS) as response:
            lines = response.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def command(self, *arguments: str, given: bytes = b"") -> Said:
        """Another command of the command line, run in the same directory."""
        return command(self.path, *arguments, given=given)


def command(path: pathlib.Path, *arguments: str, given: bytes = b"") -> Said:
    """A command in `path`, to its end. It never shows a traceback."""
    return commands(path, [arguments], given=given)[0]


# Importing the command line takes longer than most commands do, so one interpreter is copied for each of them.
_COPIES = """
import json, os, sys
from penstock.cli import dlq, infer, lane, main, query, run, send, skip, test, top, validate
for number, arguments in enumerate(json.loads(sys.argv[1])):
    child = os.fork()
    if not child:
        for descriptor, name in enumerate(("given", f"{number}.out", f"{number}.err")):
            os.dup2(os.open(name, os.O_RDONLY if not descriptor else os.O_WRONLY | os.O_CREAT), descriptor)
        os.chdir(sys.argv[2])
        sys.argv = ["penstock", *arguments]
        main.main()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def commands(path: pathlib.Path, wanted: Sequence[Sequence[str]], *, given: bytes = b"") -> list[Said]:
    """Commands in `path`, one after the other, each given the same standard input. None of them shows a traceback."""
    with tempfile.TemporaryDirectory() as folder:
        here = pathlib.Path(folder)
        (here / "given").write_bytes(given)
        done = subprocess.run(
            [sys.executable, "-c", _COPIES, json.dumps(wanted), str(path.absolute())],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=True,
            env={**os.environ, "COLUMNS": "200"},
        )
        said = [
            Said(code=int(code), out=(here / f"{number}.out").read_text(), err=(here / f"{number}.err").read_text())
            for number, code in enumerate(done.stdout.split())
        ]
    for one in said:
        assert "Traceback" not in one.err, one.err
    return said


def ndjson(events: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(one) + b"\n" for one in events)


def until(look: Callable[[], T | None], why: Callable[[], str] = str) -> T:
    """What `look` returns as soon as it is something; `why` says what the matter is when that doesn't happen."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := look()) is None:
        assert time.monotonic() < deadline, why()
        time.sleep(_LOOK_SECONDS)
    return found
