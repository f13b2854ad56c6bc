"""A pipeline as separate processes over Kafka: `penstock ingest`, `batcher` and `sink`, started, killed and asked.

Waiting is always for something that can be seen, with a deadline that only a failure reaches.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import signal
import subprocess
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from pyarrow import ipc
from tests.integration import running

from penstock.cli import background, control, exits
from penstock.v1 import control_pb2

PARTITIONS = 6
_CALL_SECONDS = 10.0
_PIPELINE = """
apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: orders, namespace: shop}
spec:
  log: {type: Kafka, kafka: {bootstrapServers: [], partitions: 6, replicationFactor: 1}}
  source: {type: Ingest, ingest: {partitionBy: [customer]}}
  schema:
    fields:
      - {name: id, type: String, required: true}
      - {name: customer, type: Int64, required: true}
      - {name: number, type: Int64, required: true}
  deduplicate: {key: [customer, id]}
  sinks:
    - name: warehouse
      type: DuckDB
      duckDB: {path: orders.duckdb, table: orders}
      batching: {static: {rows: 200, lingerMilliseconds: 50}}
      retry: {initialBackoffMilliseconds: 50, maxBackoffMilliseconds: 500}
      circuitBreaker: {openSeconds: 1}
"""


def pipeline(bootstrap: str, **sink: Any) -> str:
    """The pipeline on these brokers under a name of its own, with members of its sink replaced."""
    described = msgspec.yaml.decode(_PIPELINE)
    described["metadata"]["name"] = f"o{uuid.uuid4().hex[:12]}"
    described["spec"]["log"]["kafka"]["bootstrapServers"] = [bootstrap]
    described["spec"]["sinks"][0] |= sink
    return msgspec.yaml.encode(described).decode()


def event(number: int) -> dict[str, Any]:
    return {"id": f"e{number}", "customer": number % 101, "number": number}


class Process:
    """One command in `path`; its doors have ports of their own."""

    def __init__(self, path: pathlib.Path, name: str, *arguments: str, doors: Sequence[str] = ()) -> None:
        self.path, self.name = path, name
        self.ports = {door: background.free_port() for door in ("control", "metrics", *doors)}
        self._arguments = [*arguments, *(f"--{door}=127.0.0.1:{port}" for door, port in self.ports.items())]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Process:
        self.process = background.spawn(self.path, self.name, *self._arguments)
        if wait:
            running.until(lambda: True if self.probe("readyz") == 200 else self.check_alive(), self.said)
        return self

    def check_alive(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, self.said()

    def probe(self, name: str) -> int:
        """The status of `/livez` or `/readyz`, 0 while nothing listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['metrics']}/{name}", timeout=_CALL_SECONDS) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def why_not_ready(self) -> str:
        """The reason that `/readyz` gives, empty when it is ready or does not listen yet."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['metrics']}/readyz", timeout=_CALL_SECONDS):
                return ""
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()
        except OSError:
            return ""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports['control']}"

    def status(self) -> control_pb2.StatusResponse | None:
        try:
            with control.connected(self.address) as stub:
                return stub.Status(control_pb2.StatusRequest(), timeout=_CALL_SECONDS)
        except (control.NotRunningError, exits.Unreachable):
            return None

    def lane(self) -> control_pb2.LaneStatus | None:
        found = self.status()
        return found.lanes[0] if found and found.lanes else None

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with control.connected(self.address) as stub:
            chunks = list(stub.Query(control_pb2.QueryRequest(sql=sql), timeout=60.0))
        table = ipc.open_stream(b"".join(chunk.chunk for chunk in chunks)).read_all()
        return [tuple(row.values()) for row in table.to_pylist()]

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(timeout=running.PATIENCE_SECONDS)

    def said(self) -> str:
        log = self.path / f"{self.name}.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-40:]) if log.exists() else ""

    def partitions(self) -> list[int]:
        """What it was assigned last, as it has logged."""
        lines = [line for line in self.all_said().splitlines() if '"partitions_assigned"' in line]
        return list(json.loads(lines[-1])["partitions"]) if lines else []

    def all_said(self) -> str:
        log = self.path / f"{self.name}.log"
        return log.read_text(errors="replace") if log.exists() else ""


class Site:
    """A sink, doors and as many batchers as a test starts. Use as a context."""

    def __init__(self, path: pathlib.Path, text: str) -> None:
        self.path = path
        self.file = path / "pipeline.yaml"
        self.file.write_text(text)
        sink_port = background.free_port()
        self._sink_address = f"127.0.0.1:{sink_port}"
        self.sink = Process(path, "sink", "sink", str(self.file), "warehouse", f"--listen={self._sink_address}")
        self.doors = Process(path, "ingest", "ingest", str(self.file), doors=("http", "grpc"))
        self.batchers: list[Process] = []
        self.sent = 0

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.all:
            process.kill()
        for process in self.all:
            assert "Traceback" not in process.all_said(), process.all_said()

    @property
    def all(self) -> list[Process]:
        return [self.doors, *self.batchers, self.sink]

    def batcher(self) -> Process:
        """One more, not started."""
        name = f"batcher-{len(self.batchers)}"
        wanted = ("batcher", str(self.file), "--sink=warehouse", f"--sink-address={self._sink_address}")
        self.batchers.append(Process(self.path, name, *wanted))
        return self.batchers[-1]

    def start(self, batchers: int = 1) -> Site:
        """All of them at once: none needs another one to be up."""
        processes = [self.sink, self.doors, *(self.batcher() for _ in range(batchers))]
        for process in processes:
            process.start(wait=False)
        for process in processes:
            running.until(lambda one=process: True if one.probe("readyz") == 200 else one.check_alive(), process.said)
        return self

    def send(self, count: int, *, at_once: int = 500) -> None:
        """The next events, each until it is acknowledged."""
        for first in range(self.sent, self.sent + count, at_once):
            body = running.ndjson(event(number) for number in range(first, min(first + at_once, self.sent + count)))
            running.until(lambda body=body: self._post(body), self.doors.said)
        self.sent += count

    def _post(self, body: bytes) -> bool | None:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.doors.ports['http']}/v1/events/batch",
            data=body,
            headers={"Content-Type": "application/x-ndjson"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_CALL_SECONDS) as answer:
                return not json.loads(answer.read()).get("rejected") or None
        except OSError:
            return None

    def answer(self, numbers: Sequence[int]) -> int:
        """The status the door gives to these events; 0 when there is none."""
        body = running.ndjson(event(number) for number in numbers)
        address = f"http://127.0.0.1:{self.doors.ports['http']}/v1/events/batch"
        request = urllib.request.Request(address, data=body, headers={"Content-Type": "application/x-ndjson"})
        try:
            with urllib.request.urlopen(request, timeout=_CALL_SECONDS) as given:
                return int(given.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    @contextlib.contextmanager
    def sending(self, *, at_once: int = 200, every_seconds: float = 0.05) -> Iterator[None]:
        """Send all the time meanwhile."""
        ending = threading.Event()

        def send() -> None:
            while not ending.wait(every_seconds):
                self.send(at_once, at_once=at_once)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            yield
        finally:
            ending.set()
            sender.join()

    def until_shared(self, *batchers: Process) -> None:
        """Wait until these, and no others, have told of partitions that are all of them together."""

        def look() -> bool | None:
            numbers = sorted(number for one in batchers for number in one.partitions())
            return True if numbers == list(range(PARTITIONS)) else None

        running.until(look, self.said)

    def lanes(self) -> list[control_pb2.LaneStatus]:
        """Of the batchers that answer."""
        found = (one.lane() for one in self.batchers if one.process and one.process.poll() is None)
        return [lane for lane in found if lane]

    def landed(self) -> list[int]:
        """The numbers that stand in the store, each as often as it does."""
        return [number for (number,) in self.sink.query("SELECT number FROM orders ORDER BY ALL")]

    def settle(self, *, resent: bool = False) -> None:
        """Wait until all that was sent stands in the store, once, and the lanes' books say so.

        `resent`: requests may have been repeated, so events are in the log more than once.
        """
        running.until(lambda: True if len(self._landed_or_none()) >= self.sent else None, self.said)
        assert self.landed() == list(range(self.sent))
        running.until(lambda: True if self._balanced(resent=resent) else None, self.said)

    def _landed_or_none(self) -> list[int]:
        try:
            return self.landed()
        except (control.NotRunningError, exits.Invalid, exits.Unreachable):
            return []

    def _balanced(self, *, resent: bool) -> bool:
        """The ledgers of all processes together: nothing lost or unexplained, each event read and written."""
        books = [lane.ledger for lane in self.lanes()]
        read = sum(book.events_read for book in books)
        written = sum(book.rows_written for book in books)
        enough = read >= self.sent if resent else read == self.sent
        clean = not any(book.unexplained or book.events_lost or book.rows_in_flight for book in books)
        duplicates = sum(book.events_duplicate for book in books)
        return enough and clean and written == self.sent and read - duplicates == self.sent

    def said(self) -> str:
        """What all of them have said last, and what stands in their books."""
        books = "\n".join(str(lane.ledger).replace("\n", " ") + f" {lane.state} {lane.message}" for lane in self.lanes())
        return f"sent {self.sent}\n{books}\n" + "\n".join(f"-- {one.name}\n{one.said()}" for one in self.all)


def while_sending(site: Site, rounds: int, count: int, act: Callable[[int], None]) -> None:
    """Send `count` events per round, and do something to the processes after each."""
    for turn in range(rounds):
        site.send(count)
        act(turn)
