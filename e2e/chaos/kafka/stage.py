"""What a fault over Kafka needs to happen: brokers, stores, a site, a scale, and a place to say how it went."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import uuid
from collections.abc import Callable, Iterator, Sequence

from tests.servers import clickhouse, postgres, process

from e2e.chaos import play, processes, report
from e2e.chaos.kafka import proxy, site, store, stream
from e2e.checker import verdict


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much and how long. `events` are acknowledged at least; `rate` is in events per second, of all clients, while faults
    happen: well below what the machine lands, so that a recovery tells of the fault and not of a backlog."""

    events: int
    rate: float
    rounds: int
    zombie_seconds: float
    away_seconds: float
    hold_seconds: float
    kills: int
    """Of a process, at moments or points of its work."""


SHORT = Scale(events=4_000, rate=1_500, rounds=1, zombie_seconds=13.0, away_seconds=3.0, hold_seconds=2.0, kills=2)
LONG = Scale(events=200_000, rate=4_000, rounds=2, zombie_seconds=25.0, away_seconds=60.0, hold_seconds=8.0, kills=5)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """What runs already and serves all faults; a fault that ends one starts it again. `nodes` of one cluster."""

    nodes: Sequence[process.Process]
    bootstrap: Sequence[str]
    replication: int
    postgres: postgres.Postgres
    clickhouse: clickhouse.ClickHouse | None = None
    roundabout: proxy.Proxy | None = None
    """A way to the only broker that can be made deaf."""

    @contextlib.contextmanager
    def running_again(self) -> Iterator[None]:
        """Whatever happens to them here, the next fault finds them running."""
        known = [*self.nodes, self.postgres.server, *([self.clickhouse.server] if self.clickhouse else [])]
        try:
            yield
        finally:
            for server in known:
                server.resume()
                if not server.running:
                    server.start()


class Stage(play.Play):
    """One fault's surroundings."""

    def __init__(self, nursery: processes.Nursery, servers: Servers, path: pathlib.Path, seed: int, scale: Scale) -> None:
        super().__init__(nursery, path, seed)
        self.servers, self.scale = servers, scale

    def postgres(self, tablespace: str = "") -> store.PostgresStore:
        """A table of this fault's own."""
        return store.PostgresStore(self.servers.postgres, f"c{uuid.uuid4().hex}", tablespace)

    def clickhouse(self) -> store.ClickHouseStore:
        """Likewise."""
        assert self.servers.clickhouse
        return store.ClickHouseStore(self.servers.clickhouse, f"c{uuid.uuid4().hex}")

    @contextlib.contextmanager
    def site(
        self,
        mix: stream.Mix | None = None,
        *,
        stores: dict[str, store.Store] | None = None,
        write_seconds: int = 10,
        endpoints: int = 1,
    ) -> Iterator[site.Site]:
        """A pipeline of its own, not yet started, into Postgres unless `stores` says otherwise; `endpoints` sinks for each."""
        with site.Site(
            self.nursery,
            self.path,
            self.seed,
            brokers=self.servers.bootstrap,
            replication=self.servers.replication,
            stores=stores or {"warehouse": self.postgres()},
            mix=mix,
            write_seconds=write_seconds,
            endpoints=endpoints,
        ) as made:
            try:
                yield made
            finally:
                self.recoveries += made.recoveries


Perform = Callable[[Stage], verdict.Verdict]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`row` is its number in the list of what every release must stand; `brokers` how many it needs."""

    row: int
    name: str
    perform: Perform
    brokers: int = 1


def happen(
    fault: Fault, nursery: processes.Nursery, servers: Servers, folder: pathlib.Path, seed: int, scale: Scale
) -> report.Report:
    """One fault from its beginning to its verdict; whatever goes wrong is in the report."""
    told = Stage(nursery, servers, folder / f"{play.slug(fault.name)}-{seed}", seed, scale)

    def perform() -> verdict.Verdict:
        with servers.running_again():
            return fault.perform(told)

    return told.reported(fault.name, perform)
