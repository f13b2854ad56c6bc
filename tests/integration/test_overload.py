"""Ten times more than the sink takes, which here is nothing: memory stays within what docs/limits.md adds up.

The endpoint takes requests and does not answer them until it is told to. Meanwhile many producers send as fast as they
can, some over streams whose answers they never read; the log fills and the door refuses. Then the endpoint answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import itertools
import json
import pathlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import grpc
import pytest
from tests.integration import running

from penstock.v1 import ingest_pb2, ingest_pb2_grpc

MEBIBYTE = 1 << 20
OVERLOAD_SECONDS = 4.0
STREAMS, PRODUCERS = 12, 6
LOG_BYTES, BATCH_BYTES, WRITES = 8 * MEBIBYTE, 4 * MEBIBYTE, 2

PIPELINE = """
apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {{name: flood, namespace: shop}}
spec:
  log: {{type: Embedded, retention: {{maxBytes: {log}}}}}
  source: {{type: Ingest, ingest: {{maxEventBytes: 4194304}}}}
  schema:
    fields:
      - {{name: id, type: String, required: true}}
      - {{name: note, type: String}}
      - {{name: items, type: List, element: {{type: Int64}}}}
  transform:
    explode: {{field: items, as: item, indexAs: item_no}}
    select: [{{name: id}}, {{name: item}}, {{name: twice, value: item * 2}}, {{name: note}}]
  sinks:
    - name: far
      type: HTTP
      http: {{url: "{url}"}}
      writeTimeoutSeconds: 120
      batching:
        static: {{rows: 20000, lingerMilliseconds: 50, concurrency: {writes}}}
        limits: {{rows: 50000, bytes: {batch}, concurrency: {writes}}}
"""


def most_mebibytes(base: float) -> float:
    """The sum of docs/limits.md for the pipeline above; `base` is what the process holds before the first event."""
    in_flight, message, lane, decoded, transformed = 64.0, 1.0, 256.0, 64.0, 64.0
    return (
        base + 4 * in_flight + 4 * STREAMS * message + 1.25 * (lane + decoded + transformed) + 8 * WRITES * BATCH_BYTES / MEBIBYTE
    )


class StalledEndpoint:
    """Counts the rows of the requests it has answered; answers none before `released` is set."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.rows, self._lock = 0, threading.Lock()
        endpoint = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                rows = self.rfile.read(int(self.headers["Content-Length"])).count(b"\n")
                endpoint.released.wait()
                with endpoint._lock:
                    endpoint.rows += rows
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing on the tests' output."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    @contextlib.contextmanager
    def serving(self) -> Iterator[StalledEndpoint]:
        serving = threading.Thread(target=self.server.serve_forever)
        serving.start()
        try:
            yield self
        finally:
            self.released.set()
            self.server.shutdown()
            serving.join()
            self.server.server_close()


@dataclasses.dataclass(slots=True)
class Heard:
    """What producers were told: HTTP statuses; what refusals said; the statuses of gRPC calls with their advice."""

    statuses: Counter[int] = dataclasses.field(default_factory=Counter)
    refusals: set[tuple[int, str, str]] = dataclasses.field(default_factory=set)
    calls: set[tuple[grpc.StatusCode, bool]] = dataclasses.field(default_factory=set)


class Producers:
    """Threads that send `bodies` without a pause worth the name until the context ends."""

    def __init__(self, ports: dict[str, int], bodies: Sequence[bytes]) -> None:
        self._ports, self._bodies = ports, bodies
        self._done = threading.Event()
        self.heard = Heard()

    @contextlib.contextmanager
    def sending(self) -> Iterator[None]:
        kinds = [self._over_http] * PRODUCERS + [self._without_reading] * STREAMS + [self._one_by_one]
        threads = [threading.Thread(target=kind) for kind in kinds]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in threads:
                thread.join()

    def _over_http(self) -> None:
        for body in itertools.cycle(self._bodies):
            if self._done.wait(0.01):
                return
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._ports["http"], timeout=60)) as connection:
                connection.request("POST", "/v1/events/batch", body, {"Content-Type": "application/x-ndjson"})
                answer = connection.getresponse()
                told = json.loads(answer.read())
            self.heard.statuses[answer.status] += 1
            if answer.status != 202:
                self.heard.refusals.add((answer.status, answer.headers["Retry-After"], told["title"]))

    def _requests(self) -> Iterator[ingest_pb2.PublishRequest]:
        for number, body in enumerate(itertools.cycle(self._bodies)):
            if self._done.is_set():
                return
            yield ingest_pb2.PublishRequest(sequence=number, ndjson=body)

    def _without_reading(self) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self._ports['grpc']}", options=options) as channel:
            call = ingest_pb2_grpc.IngestStub(channel).PublishStream(self._requests())
            self._done.wait()
            call.cancel()

    def _one_by_one(self) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{self._ports['grpc']}") as channel:
            stub = ingest_pb2_grpc.IngestStub(channel)
            for request in self._requests():
                try:
                    stub.Publish(request, timeout=60)
                except grpc.RpcError as error:
                    advice = dict(error.trailing_metadata() or ())
                    self.heard.calls.add((error.code(), "grpc-retry-pushback-ms" in advice))
                self._done.wait(0.01)


def small_events(rng: random.Random) -> bytes:
    """2,000 events of some 200 bytes, one row each."""
    return b"".join(
        b'{"id":"%032x","note":"%0120x","items":[7]}\n' % (rng.getrandbits(128), rng.getrandbits(480)) for _ in range(2_000)
    )


def large_array(rng: random.Random) -> bytes:
    """One event with 50,000 items."""
    items = b",".join(b"%d" % rng.randrange(10**9) for _ in range(50_000))
    return b'{"id":"%032x","note":"n","items":[%s]}\n' % (rng.getrandbits(128), items)


def same_events(_: random.Random) -> bytes:
    """Events that compress to nearly nothing in the log."""
    return b'{"id":"same","note":"%s","items":[1]}\n' % (b"a" * 100) * 6_000


def memory_mebibytes(run: running.Running, name: str) -> float:
    """VmRSS is what the process holds now, VmHWM the most it ever held."""
    assert run.pipeline.process is not None
    lines = pathlib.Path(f"/proc/{run.pipeline.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


@pytest.mark.parametrize("body", [small_events, large_array, same_events])
def test_memory_is_bounded_at_overload_and_what_was_acknowledged_lands(tmp_path, body):
    """Catches a buffer nobody counts: requests read before there is room, blocks decoded by their compressed size, answers
    that pile up for a client that reads none; a refusal without advice; and an acknowledged event that the stall lost."""
    rng = random.Random(11)
    bodies = [body(rng) for _ in range(20)]
    with StalledEndpoint().serving() as endpoint:
        text = PIPELINE.format(url=endpoint.url, log=LOG_BYTES, batch=BATCH_BYTES, writes=WRITES)
        with running.Running(tmp_path, text) as run:
            run.start()
            base = memory_mebibytes(run, "VmRSS")
            producers = Producers(run.pipeline.ports, bodies)
            with producers.sending():
                time.sleep(OVERLOAD_SECONDS)
            stalled = memory_mebibytes(run, "VmHWM")
            assert endpoint.rows == 0
            endpoint.released.set()
            ledger = run.settled().lanes[0].ledger
            assert stalled < most_mebibytes(base)
            assert memory_mebibytes(run, "VmHWM") < most_mebibytes(base)
            assert (endpoint.rows, ledger.rows_in_flight) == (ledger.rows_written, 0)
            heard = producers.heard
            # A request whose events went to several blocks, of which the log had room for some, is told to come again whole.
            assert {202, 429} <= set(heard.statuses) <= {202, 429, 503}
            assert heard.refusals <= {(429, "1", "Overloaded"), (503, "1", "The outcome is unknown")}
            assert heard.calls <= {(grpc.StatusCode.RESOURCE_EXHAUSTED, True), (grpc.StatusCode.UNAVAILABLE, True)}
            counted = run.metrics()['penstock_ingest_refusals_total{namespace="shop",pipeline="flood",reason="Overloaded"}']
            assert counted >= heard.statuses[429] > 0


def test_one_event_that_would_repeat_its_text_without_bound_is_refused_and_its_neighbours_land(tmp_path):
    """Catches rows counted but not weighed: a thousand copies of half a mebibyte once halted the lane."""
    with StalledEndpoint().serving() as endpoint:
        endpoint.released.set()
        text = PIPELINE.format(url=endpoint.url, log=64 * MEBIBYTE, batch=BATCH_BYTES, writes=WRITES)
        with running.Running(tmp_path, text) as run:
            run.start()
            fat = b'{"id":"fat","note":"%s","items":[%s]}\n' % (b"x" * (MEBIBYTE // 2), b",".join([b"1"] * 1_000))
            base = memory_mebibytes(run, "VmRSS")
            assert run.post(b'{"id":"a","items":[1]}\n' + fat + b'{"id":"b","items":[1,2]}\n').body["accepted"] == 3
            ledger = run.settled().lanes[0].ledger
            assert (endpoint.rows, ledger.events_dead_lettered) == (3, 1)
            assert memory_mebibytes(run, "VmHWM") < most_mebibytes(base)
