"""One pipeline under load: its directory, its process from life to life, its clients, and the judgement at the end."""

from __future__ import annotations

import asyncio
import pathlib
import signal
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import duckdb

from e2e.chaos import clients, events, processes
from e2e.checker import found, history, letters, stores, verdict
from penstock.cli import background
from penstock.v1 import control_pb2

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
RECOVERY_LIMIT_SECONDS = 30.0
_LOOK_SECONDS = 0.03


class StuckError(Exception):
    """What a fault should end in did not come; the message shows what the process said."""


class Site:
    """Use as a context: what still runs is killed at the end."""

    def __init__(
        self,
        nursery: processes.Nursery,
        path: pathlib.Path,
        seed: int,
        *,
        text: str | None = None,
        hook: Callable[[], found.Store] | None = None,
        hook_refuses: float = 0.0,
    ) -> None:
        """`hook` reads the HTTP sink, where the pipeline `text` has one."""
        self.nursery, self.path, self.seed = nursery, path, seed
        self.store_path = path / "store"
        self.store_path.mkdir(parents=True, exist_ok=True)
        self.file = path / "pipeline.yaml"
        self.file.write_text(text or events.pipeline())
        self.pipeline = background.Pipeline(path, self.file)
        self._hook, self._hook_refuses = hook, hook_refuses
        self._clients: list[clients.Client] = []
        self._gone = self._clients_so_far = 0
        self._committed: letters.Committed | None = None
        self.process: processes.Process | None = None
        self.samples: list[found.Sample] = []
        self.recoveries: list[float] = []
        self.expectation: Callable[[Mapping[str, history.Expected]], Mapping[str, history.Expected]] | None = None
        self.checks_ledger = True
        self.ordered = True
        self.older_logs: list[pathlib.Path] = []
        """Logs that were put away during the fault: their letters count."""

    def create_table(self) -> None:
        """The warehouse's table, with a rule of the store's own."""
        with duckdb.connect(str(self.store_path / "orders.duckdb")) as connection:
            connection.execute(events.TABLE_SQL)

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.stop(0.0)
        if self.process:
            self.process.kill()

    # -- the process

    @property
    def said(self) -> str:
        """All that its processes have written to standard error."""
        log = self.path / "pipeline.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def spawn(self, failpoints: str = "", *options: str) -> processes.Process:
        """Start it, and don't wait for it."""
        doors = [f"--{door}=127.0.0.1:{port}" for door, port in self.pipeline.ports.items()]
        arguments = ["run", str(self.file), f"--data={self.pipeline.data.path}", *doors, *options]
        self.process = self.nursery.start(self.path, "pipeline", arguments, {"PENSTOCK_FAILPOINTS": failpoints})
        return self.process

    def start(self, failpoints: str = "", *options: str) -> None:
        """Return when its lanes know what they have done."""
        process = self.spawn(failpoints, *options)

        def look() -> bool | None:
            if process.wait(0.0) is not None:
                raise StuckError(f"it ended with {process.code}:\n{self.pipeline.log_tail()}")
            status = self.pipeline.status()
            return (status is not None and all(lane.state != "Starting" for lane in status.lanes)) or None

        self.until(look)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it as a supervisor would; its exit code."""
        assert self.process
        self.process.signal(number)
        if (code := self.process.wait(PATIENCE_SECONDS)) is None:
            raise StuckError(f"{number.name} did not end it:\n{self.pipeline.log_tail()}")
        return code

    def until(self, look: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
        """What `look` returns as soon as it is something. Raises StuckError."""
        deadline = time.monotonic() + seconds
        while (seen := look()) is None:
            if time.monotonic() > deadline:
                raise StuckError(f"waited {seconds:g} s in vain:\n{self.pipeline.last}\n{self.pipeline.log_tail()}")
            time.sleep(_LOOK_SECONDS)
        return seen

    # -- the load

    def load(self, number: int = 4, *, pause: float = 0.04, again: float = 0.1, regionless: float = 0.02) -> None:
        """Clients, half of them over HTTP and half over gRPC."""
        ports = self.pipeline.ports
        for at in range(number):
            door = clients.GrpcDoor(ports["grpc"]) if at % 2 else clients.HttpDoor(ports["http"])
            number_of_client = self._clients_so_far + len(self._clients)
            maker = events.Maker(number_of_client, self.seed, regionless=regionless, hook_refuses=self._hook_refuses)
            client = clients.Client(number_of_client, door, self.path, maker, seed=self.seed, pause=pause, again=again)
            self._clients.append(client)
            client.start()

    def unload(self, patience_seconds: float = 30.0) -> None:
        """End the load, each request's outcome known; after it another load may begin."""
        for client in self._clients:
            client.stop(patience_seconds)
        for client in self._clients:
            client.join()
        self._gone += sum(client.acknowledged for client in self._clients)
        self._clients_so_far += len(self._clients)
        self._clients = []

    @property
    def acknowledged(self) -> int:
        return self._gone + sum(client.acknowledged for client in self._clients)

    def go_on(self, events_more: int) -> None:
        """Return when so many more events were acknowledged."""
        wanted = self.acknowledged + events_more
        self.until(lambda: self.acknowledged >= wanted or None)

    # -- landing

    def landed(self) -> dict[str, int] | None:
        """Rows and letters by sink so far, None while nothing answers. Raises StuckError for a lane that is halted."""
        status = self.pipeline.status()
        if status is None or any(lane.state == "Starting" for lane in status.lanes):
            return None
        _refuse_halted(status)
        return {lane.sink: lane.ledger.rows_written + lane.ledger.rows_dead_lettered for lane in status.lanes}

    def recovered(self, since: float, limit_seconds: float = PATIENCE_SECONDS) -> float:
        """Seconds from the end of a fault until every lane has landed something again."""
        first: dict[str, int] = {}

        def look() -> bool | None:
            now = self.landed()
            if now is None:
                return None
            first.update({sink: rows for sink, rows in now.items() if sink not in first})
            return all(now[sink] > first[sink] for sink in now) or None

        self.until(look, limit_seconds)
        seconds = time.monotonic() - since
        self.recoveries.append(seconds)
        return seconds

    def settled(self) -> control_pb2.StatusResponse:
        """The status when all that was acknowledged has its outcome in every lane."""

        def look() -> control_pb2.StatusResponse | None:
            status = self.pipeline.status()
            if status is None:
                return None
            _refuse_halted(status)
            return status if all(background.is_idle(lane) for lane in status.lanes) else None

        return self.until(look)

    # -- the judgement

    def sample(self) -> None:
        """Of a process that was killed just now: nothing moves, so what is committed must be there."""
        log = self.pipeline.data.log_path
        self._committed = self._committed or letters.Committed(log)
        written = asyncio.run(letters.letters(log))
        for sink, store in self.stores().items():
            if sink == events.HOOK:
                continue
            self.samples.append(
                found.Sample(
                    sink=sink,
                    committed=asyncio.run(self._committed.ids(f"{events.NAMESPACE}/{events.NAME}/{sink}")),
                    rows=frozenset((row.id, row.place) for row in store.rows),
                    letters=frozenset((one.id, place) for one in written if one.sink == sink for place in one.places),
                )
            )

    def stores(self) -> dict[str, found.Store]:
        """What the sinks hold; nothing may run."""
        rows = stores.duckdb_rows(self.store_path / "orders.duckdb", events.TABLE, events.COLUMNS, "item_no")
        seen = {
            events.WAREHOUSE: found.Store(rows=rows, ordered=self.ordered),
            events.ARCHIVE: found.Store(rows=stores.files_rows(self.store_path / "archive", events.COLUMNS, "item_no")),
        }
        return seen | ({events.HOOK: self._hook()} if self._hook else {})

    def so_far(self) -> verdict.Verdict:
        """What the samples alone say, of a fault that could not be brought to its end."""
        for client in self._clients:
            client.stop(0.0)
        sent = history.events(history.read(self.path.glob("client-*.jsonl")))
        return verdict.judge(sent, {}, [], None, self.samples)

    def judge(self) -> verdict.Verdict:
        """After the load: wait until everything has its outcome, end the process, and compare."""
        self.unload()
        status = self.settled()
        self.stop()
        sent = history.events(history.read(self.path.glob("client-*.jsonl")))
        if self.expectation:
            for event in sent.values():
                event.sinks = self.expectation(event.sinks)
        return verdict.judge(
            sent,
            self.stores(),
            [one for log in (*self.older_logs, self.pipeline.data.log_path) for one in asyncio.run(letters.letters(log))],
            {lane.sink: _ledger(lane) for lane in status.lanes} if self.checks_ledger else None,
            self.samples,
        )


def _refuse_halted(status: control_pb2.StatusResponse) -> None:
    for lane in status.lanes:
        if lane.state == "Halted":
            raise StuckError(f"lane {lane.sink} is halted: {lane.message}")


def _ledger(lane: control_pb2.LaneStatus) -> found.Ledger:
    told = lane.ledger
    return found.Ledger(
        unexplained=told.unexplained,
        lost=told.events_lost,
        read=told.events_read,
        duplicates=told.events_duplicate,
        dead_lettered_events=told.events_dead_lettered,
        written=told.rows_written,
        dead_lettered_rows=told.rows_dead_lettered,
        rows_replayed=lane.replays.rows_landed,
    )
