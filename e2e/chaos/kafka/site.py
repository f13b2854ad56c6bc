"""One pipeline over Kafka under load: its processes, its clients, its stores, and the judgement at the end."""

from __future__ import annotations

import contextlib
import pathlib
import signal
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import TypeVar

import msgspec
import numpy as np

from e2e.chaos import clients, processes, site
from e2e.chaos.kafka import logbook, members, senders, store, stream
from e2e.checker import columns, found, verdict
from penstock.cli import background
from penstock.log import port
from penstock.log.kafka import settings as kafka_settings
from penstock.v1 import control_pb2

T = TypeVar("T")

PARTITIONS = 6
PATIENCE_SECONDS = 120.0
_LOOK_SECONDS = 0.1
_LANDED_SECONDS = 0.25
_CLIENTS = 4
_REQUEST_EVENTS = 250
_PIPELINE = """
apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: orders, namespace: chaos}
spec:
  log: {type: Kafka, kafka: {bootstrapServers: [], partitions: 6, replicationFactor: 1}}
  source: {type: Ingest, ingest: {partitionBy: [customer]}}
  schema:
    fields:
      - {name: id, type: String, required: true}
      - {name: customer, type: Int64, required: true}
      - {name: number, type: Int64, required: true}
      - {name: value, type: Int64, required: true}
      - {name: note, type: String}
      - {name: items, type: List, element: {type: Int64}}
  deduplicate: {key: [customer, id], windowSeconds: 14400}
  transform:
    explode: {field: items, as: item, indexAs: item_no}
    filter: {expression: "note is null or note <> 'drop'"}
    select:
      - {name: id}
      - {name: customer}
      - {name: number}
      - {name: value}
      - {name: item_no}
      - {name: item}
      - {name: doubled, value: "cast(note as bigint) * 2"}
  sinks: []
"""


class Site:
    """Use as a context: what still runs is killed at the end. `brokers` as `host:port`; nothing is started yet."""

    def __init__(
        self,
        nursery: processes.Nursery,
        path: pathlib.Path,
        seed: int,
        *,
        brokers: Sequence[str],
        replication: int,
        stores: Mapping[str, store.Store],
        mix: stream.Mix | None = None,
        write_seconds: int = 10,
        endpoints: int = 1,
    ) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.nursery, self.path, self.seed, self.stores = nursery, path, seed, stores
        self.told = senders.Told(mix or stream.Mix())
        self._brokers, self._replication, self._write_seconds = list(brokers), replication, write_seconds
        self.name = f"o{uuid.uuid4().hex[:12]}"
        self.file = self._described("pipeline.yaml", self._brokers)
        self.prefix = f"chaos.{self.name}"
        self.logbook = logbook.Logbook(self.settings, f"chaos/{self.name}")
        self.doors: list[members.Member] = []
        self.sinks: dict[str, members.Member] = {}
        self.sinks_beside: dict[str, list[members.Member]] = {name: [] for name in stores}
        """Further processes of the same sinks, where there are several."""
        self.batchers: dict[str, list[members.Member]] = {name: [] for name in stores}
        self.samples: list[columns.Sample] = []
        self.recoveries: list[float] = []
        self._sampler = futures.ThreadPoolExecutor(1, thread_name_prefix="sample")
        self._sampling: futures.Future[None] | None = None
        self._clients: list[senders.Sender] = []
        self._sink_ports = {name: [background.free_port() for _ in range(endpoints)] for name in stores}
        self._made = 0

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        self._sampler.shutdown()
        for client in self._clients:
            client.stop(0.0)
        for member in self.all_members:
            member.signal(signal.SIGCONT)
            member.kill()
        for client in self._clients:
            with contextlib.suppress(Exception):  # What a client met is told by whatever led here.
                client.join()

    def _described(self, name: str, brokers: Sequence[str]) -> pathlib.Path:
        """The pipeline file for whoever reaches the brokers at these addresses."""
        told = msgspec.yaml.decode(_PIPELINE)
        told["metadata"]["name"] = self.name
        told["spec"]["log"]["kafka"] |= {"bootstrapServers": list(brokers), "replicationFactor": self._replication}
        told["spec"]["sinks"] = [
            one.sink(sink) | {"writeTimeoutSeconds": self._write_seconds} for sink, one in self.stores.items()
        ]
        file = self.path / name
        file.write_bytes(msgspec.yaml.encode(told))
        return file

    @property
    def settings(self) -> kafka_settings.Settings:
        """Of the log, for whoever looks at it from outside."""
        copies = self._replication
        return kafka_settings.Settings(
            bootstrap=",".join(self._brokers),
            prefix=self.prefix,
            partitions=PARTITIONS,
            replication=copies,
            min_in_sync=1 if copies <= 2 else copies // 2 + 1,
        )

    # -- the processes

    @property
    def all_members(self) -> list[members.Member]:
        several = [*self.sinks_beside.values(), *self.batchers.values()]
        every = [*self.doors, *self.sinks.values(), *(one for some in several for one in some)]
        return list(dict.fromkeys(every))

    def _member(self, name: str, *arguments: str, doors: Sequence[str] = ()) -> members.Member:
        secrets = {key: value for one in self.stores.values() for key, value in one.secrets.items()}
        return members.Member(self.nursery, self.path, name, arguments, environment=secrets, doors=doors)

    def add_doors(self) -> members.Member:
        """One more `penstock ingest`, not started."""
        self.doors.append(self._member(f"ingest-{len(self.doors)}", "ingest", str(self.file), doors=("http", "grpc")))
        return self.doors[-1]

    def add_sinks(self, name: str) -> None:
        """All `penstock sink` of this store, not started."""
        first, *others = [
            self._member(f"sink-{name}-{at}", "sink", str(self.file), name, f"--listen=127.0.0.1:{port}")
            for at, port in enumerate(self._sink_ports[name])
        ]
        self.sinks[name], self.sinks_beside[name] = first, others

    def add_batcher(self, name: str, *, brokers: Sequence[str] | None = None, sink_port: int | None = None) -> members.Member:
        """One more `penstock batcher`, not started; with ways of its own to the brokers and to its sink where they are given."""
        file = self._described(f"pipeline-{self._made}.yaml", brokers) if brokers else self.file
        at = ",".join(f"127.0.0.1:{port}" for port in ([sink_port] if sink_port else self._sink_ports[name]))
        member = self._member(f"batcher-{self._made}", "batcher", str(file), f"--sink={name}", f"--sink-address={at}")
        self._made += 1
        self.batchers[name].append(member)
        return member

    def sink_port(self, name: str) -> int:
        """Where its first process listens."""
        return self._sink_ports[name][0]

    def start(self, *, doors: int = 2, batchers: int = 2) -> Site:
        """All as separate processes; returns when they are ready."""
        for _ in range(doors):
            self.add_doors()
        for name in self.stores:
            self.add_sinks(name)
            for _ in range(batchers):
                self.add_batcher(name)
        for member in self.all_members:
            member.start()
        self.until_ready(*self.all_members)
        return self

    def start_alone(self) -> members.Member:
        """All in one `penstock run`; returns when it is ready."""
        data = f"--data={self.path / 'data'}"
        member = self._member("run", "run", str(self.file), data, doors=("http", "grpc"))
        self.doors = [member]
        self.batchers = {name: [member] for name in self.stores}
        member.start()
        self.until_ready(member)
        return member

    def until_ready(self, *wanted: members.Member) -> None:
        """Wait until these say so. Raises StuckError when one has ended."""

        def look() -> bool | None:
            if ended := [one for one in wanted if not one.alive]:
                raise site.StuckError("ended:\n" + "\n".join(one.tail() for one in ended))
            return all(one.ready for one in wanted) or None

        self.until(look)

    def until(self, look: Callable[[], T | None], seconds: float = PATIENCE_SECONDS, *, every: float = _LOOK_SECONDS) -> T:
        """What `look` returns as soon as it is something. Raises StuckError."""
        deadline = time.monotonic() + seconds
        while (seen := look()) is None:
            self._check_clients()
            if time.monotonic() > deadline:
                raise site.StuckError(f"waited {seconds:g} s in vain\n{self._why()}")
            time.sleep(every)
        return seen

    def _check_clients(self) -> None:
        for client in self._clients:
            if client.error:
                raise client.error

    def _why(self) -> str:
        books = [
            f"{one.name}: {lane.state} {lane.message} {lane.ledger!s} lag {lane.lag.events}".replace("\n", " ")
            for several in self.batchers.values()
            for one in several
            for lane in one.lanes()
        ]
        return "\n".join([*books, *(one.tail() for one in self.all_members)])

    # -- the load

    def load(self, rate: float, enough: int, *, again: float = 0.1) -> None:
        """Clients, half of them over HTTP and half over gRPC, of `rate` events a second together until there are enough."""
        http = [lambda one=one: clients.HttpDoor(one.ports["http"]) for one in self.doors]
        grpc = [lambda one=one: clients.GrpcDoor(one.ports["grpc"]) for one in self.doors]
        self._clients = [
            senders.Sender(
                grpc if at % 2 else http,
                self.told,
                size=_REQUEST_EVENTS,
                rate=rate / _CLIENTS,
                enough=enough,
                again=again,
                seed=f"{self.seed}/{at}",
            )
            for at in range(_CLIENTS)
        ]
        for client in self._clients:
            client.start()

    def hurry(self) -> None:
        """What is left of the load as fast as the doors take it."""
        for client in self._clients:
            client.hurry()

    def unload(self, patience_seconds: float = 60.0) -> None:
        """End the load, each request's outcome known."""
        for client in self._clients:
            client.stop(patience_seconds)
        for client in self._clients:
            client.join()
        self._clients = []

    def go_on(self, events_more: int) -> None:
        """Return when so many more events were acknowledged."""
        self.go_on_to(self.told.acknowledged + events_more)

    def go_on_to(self, events: int) -> None:
        """Return when so many events were acknowledged altogether."""
        self.until(lambda: self.told.acknowledged >= events or None, 600.0)

    # -- landing

    def landed(self) -> dict[tuple[str, int], int] | None:
        """Rows so far by sink and customer, None while a store does not answer."""
        try:
            return {(name, customer): count for name, one in self.stores.items() for customer, count in one.landed().items()}
        except OSError:
            return None

    def recovered(self, since: float) -> float:
        """Seconds from the end of a fault until every customer has something new in every store, and a client an answer."""
        answered, first = self.told.acknowledged, None

        def look() -> bool | None:
            nonlocal first
            now = self.landed()
            if now is None or self.told.acknowledged == answered:
                return None
            first = first or now
            return all(now.get(key, 0) > first.get(key, 0) for key in self._customers()) or None

        first = self.landed()
        self.until(look, every=_LANDED_SECONDS)
        self.recoveries.append(time.monotonic() - since)
        self.have_sampled()
        return self.recoveries[-1]

    def _customers(self) -> list[tuple[str, int]]:
        return [(name, customer) for name in self.stores for customer in range(stream.CUSTOMERS)]

    def settle(self) -> None:
        """Wait until every lane has committed all that is in the log."""

        def look() -> bool | None:
            try:
                if any(self.logbook.lag(name) for name in self.stores):
                    return None
            except port.LogError:
                return None
            lanes = [lane for name in self.stores for lane in self.lanes(name)]
            return all(background.is_idle(lane) for lane in lanes) or None

        self.until(look, 2 * PATIENCE_SECONDS)

    def lanes(self, name: str) -> list[control_pb2.LaneStatus]:
        """What the batchers that live say of this sink's lane."""
        return [lane for one in self.batchers[name] if one.alive for lane in one.lanes() if lane.sink == name]

    def letters_ends(self) -> dict[int, int]:
        """Where the dead-letter topic's partitions end, as far as the brokers say."""
        try:
            return self.logbook.letters_ends()
        except port.LogError:
            return {}

    # -- the judgement

    def sample_meanwhile(self) -> None:
        """The same beside what happens next, until something recovers: reading everything takes seconds, which are nobody's."""
        self.have_sampled()
        self._sampling = self._sampler.submit(self._sample)

    def sample(self) -> None:
        """What is committed now must be there a moment later; everything may run."""
        self.have_sampled()
        self._sample()

    def have_sampled(self) -> None:
        """Wait for what `sample_meanwhile` has begun: it asks the brokers, so none may go before."""
        sampling, self._sampling = self._sampling, None
        if sampling is not None:
            sampling.result()

    def _sample(self) -> None:
        for name, one in self.stores.items():
            committed = self.logbook.committed_numbers(name)
            count = int(committed.max(initial=0)) + 1
            rows = one.rows(self.told.mix)
            letters = self.logbook.letters(self.told.mix).get(name, logbook.no_letters())
            present = columns.bits_of(rows.number, rows.place, count) | columns.letter_bits(letters, count)
            self.samples.append(columns.Sample(sink=name, committed=np.unique(committed), present=present[np.unique(committed)]))

    def judge(self) -> verdict.Verdict:
        """After the load: wait until everything has its outcome, end all processes in good order, and compare."""
        self.have_sampled()
        self.unload()
        self.settle()
        ledgers = {name: _together(self.lanes(name)) for name in self.stores}
        codes = {one.name: one.stop() for one in self.all_members if one.alive}
        letters = self.logbook.letters(self.told.mix)
        expected = stream.expected(len(self.told.state), self.told.mix)
        lanes = {
            name: columns.Lane(
                expected=expected,
                rows=one.rows(self.told.mix),
                letters=letters.get(name, logbook.no_letters()),
                ledger=ledgers[name],
            )
            for name, one in self.stores.items()
        }
        judged = columns.judge(self.told.state, lanes, self.samples)
        if any(codes.values()):
            raise site.StuckError(f"exit codes {codes}\n{judged}\n{self._why()}")
        if told := [one for one in self.all_members if "Traceback" in one.said]:
            where = told[0].said
            raise site.StuckError(f"{judged}\n{told[0].name} shows a traceback: {where[where.index('Traceback') - 300 :][:3000]}")
        return judged


def _together(lanes: Sequence[control_pb2.LaneStatus]) -> found.Ledger:
    """The books of all processes of a lane."""
    return found.Ledger(
        unexplained=sum(lane.ledger.unexplained for lane in lanes),
        lost=sum(lane.ledger.events_lost for lane in lanes),
        read=sum(lane.ledger.events_read for lane in lanes),
        duplicates=sum(lane.ledger.events_duplicate for lane in lanes),
        dead_lettered_events=sum(lane.ledger.events_dead_lettered for lane in lanes),
        written=sum(lane.ledger.rows_written for lane in lanes),
        dead_lettered_rows=sum(lane.ledger.rows_dead_lettered for lane in lanes),
        rows_replayed=sum(lane.replays.rows_landed for lane in lanes),
    )
