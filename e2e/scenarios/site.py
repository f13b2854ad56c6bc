"""One pipeline in a namespace of its own: applied, loaded, looked at, and judged at the end."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from e2e.chaos import clients
from e2e.chaos.kafka import logbook, senders, store, stream
from e2e.checker import columns, found, verdict
from e2e.scenarios import api, manifests, world
from penstock.log import port
from penstock.log.kafka import settings as kafka_settings

T = TypeVar("T")

READY_SECONDS = 300.0
_CLIENTS = 4
_REQUEST_EVENTS = 50
_PORTS = {"http": 8080, "grpc": 9090}
PIPELINE_LABEL, ROLE_LABEL = "penstock.dev/pipeline", "penstock.dev/role"
_LATER = "SELECT count(*) FROM (SELECT 1 FROM orders WHERE number >= {} LIMIT 1) AS one"
_CREDENTIALS = {"username": "postgres", "password": "x"}


class Site:
    """`manifest` is what was applied last, or will be first."""

    def __init__(self, here: world.World, namespace: str, mix: stream.Mix) -> None:
        self._here, self.namespace = here, namespace
        self.store = self.another_store()
        self.stores = {manifests.SINK: [self.store]}
        """By sink, what its rows are in: more than one where its target was changed on the way. Each of these sinks is judged."""
        bootstrap = here.servers.kafka.bootstrap
        self.manifest = manifests.pipeline(namespace, [bootstrap], self.store.sink(manifests.SINK))
        self.told = senders.Told(mix)
        settings = kafka_settings.Settings(
            bootstrap=bootstrap,
            prefix=f"{namespace}.{manifests.NAME}",
            partitions=manifests.PARTITIONS,
            replication=1,
            min_in_sync=1,
        )
        self.logbook = logbook.Logbook(settings, f"{namespace}/{manifests.NAME}")
        self.samples: list[columns.Sample] = []
        self.without_ledger: set[str] = set()
        """Sinks whose lane has not counted all of its life."""
        self._clients: list[senders.Sender] = []
        self._ports: dict[str, int] = {}

    def another_store(self) -> store.PostgresStore:
        """One more, with nothing in it."""
        return store.PostgresStore(self._here.servers.postgres, f"e{uuid.uuid4().hex}")

    def use(self, there: store.PostgresStore) -> None:
        """Land there from the beginning."""
        self.store, self.stores[manifests.SINK] = there, [there]
        self.manifest["spec"]["sinks"] = [there.sink(manifests.SINK)]

    # -- the object

    def grant(self) -> None:
        """The Secret that the store wants."""
        self._here.api.apply("secrets", manifests.secret(self.namespace, "pg", _CREDENTIALS))

    def prepare(self) -> None:
        """The namespace, strict, with what a pipeline needs there."""
        self._here.api.apply("namespaces", manifests.namespace(self.namespace, manifests.STRICT | manifests.OURS))
        self.grant()
        made = self._here.api.apply("services", manifests.way_in(self.namespace, self.labels("ingest"), _PORTS))
        self._ports = {one["name"]: int(one["nodePort"]) for one in made["spec"]["ports"]}

    def apply(self, manifest: api.Object | None = None) -> None:
        """With kubectl, as a user does."""
        self.manifest = manifest or self.manifest
        self._here.kubectl("apply", "--filename=-", stdin=json.dumps(self.manifest))

    def start(self) -> Site:
        """Everything; returns when the pipeline is Running."""
        self.prepare()
        self.apply()
        self.until_state("Running")
        return self

    def patch(self, spec: api.Object) -> None:
        """Merge a part of the spec into the object."""
        self._here.api.patch("batchpipelines", self.namespace, manifests.NAME, {"spec": spec})

    def pipeline(self) -> api.Object:
        """As it is now; empty where it isn't."""
        return self._here.api.get("batchpipelines", self.namespace, manifests.NAME) or {}

    def status(self) -> api.Object:
        """What the operator says of it."""
        return dict(self.pipeline().get("status") or {})

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason."""
        return _condition(self.status(), kind)

    def until_state(self, state: str, seconds: float = READY_SECONDS) -> api.Object:
        """Wait until the operator says so of the object as it is now, and nothing is under way; the status."""

        def look() -> api.Object | None:
            made = self.pipeline()
            told = made.get("status") or {}
            seen = told.get("observedGeneration") == made.get("metadata", {}).get("generation")
            still = _condition(told, "Reconciling")[0] != "True"
            return told if seen and still and told.get("display", {}).get("state") == state else None

        return self.until(look, f"{self.namespace} is {state}", seconds)

    def until(self, look: Callable[[], T | None], what: str, seconds: float = 120.0) -> T:
        """As the world's, and the clients are well meanwhile."""

        def checked() -> T | None:
            for client in self._clients:
                if client.error:
                    raise client.error
            return look()

        return self._here.until(checked, what, seconds, self._why)

    def _why(self) -> str:
        pods = [f"{one['metadata']['name']} {_state(one)}" for one in self.pods()]
        return "\n".join([json.dumps(self.status(), indent=1)[:4000], *pods])

    # -- its pods

    def labels(self, role: str) -> dict[str, str]:
        """Of the pods of a role."""
        return {PIPELINE_LABEL: manifests.NAME, ROLE_LABEL: role}

    def pods(self, role: str = "") -> list[api.Object]:
        """Those that are not on their way out."""
        labels = self.labels(role) if role else {PIPELINE_LABEL: manifests.NAME}
        there = self._here.api.listed("pods", self.namespace, labels)
        return [one for one in there if "deletionTimestamp" not in one["metadata"]]

    def file_of(self, role: str) -> str:
        """The pipeline file that the newest pod of a role was given."""
        pod = max(self.pods(role), key=lambda one: str(one["metadata"]["creationTimestamp"]))
        name = next(str(one["configMap"]["name"]) for one in pod["spec"]["volumes"] if one["name"] == "pipeline")
        found = self._here.api.get("configmaps", self.namespace, name) or {}
        return str(found.get("data", {}).get("pipeline.yaml", ""))

    # -- the load

    def load(self, rate: float, *, again: float = 0.1) -> None:
        """Clients, half of them over HTTP and half over gRPC, of `rate` events a second together, until `unload`."""
        address = self._here.cluster.node_address
        doors: list[Callable[[], clients.Door]] = [
            lambda: clients.HttpDoor(self._ports["http"], address),
            lambda: clients.GrpcDoor(self._ports["grpc"], address),
        ]
        self._clients = [
            senders.Sender(
                [doors[at % 2]],
                self.told,
                size=_REQUEST_EVENTS,
                rate=rate / _CLIENTS,
                enough=1 << 30,
                again=again,
                seed=f"{self.namespace}/{at}",
            )
            for at in range(_CLIENTS)
        ]
        for client in self._clients:
            client.start()

    def unload(self, patience_seconds: float = 90.0) -> None:
        """End the load, each request's outcome known."""
        for client in self._clients:
            client.stop(patience_seconds)
        for client in self._clients:
            client.join()
        self._clients = []

    def close(self) -> None:
        """End the load, whatever is on its way."""
        for client in self._clients:
            client.stop(0.0)

    def go_on(self, events_more: int) -> None:
        """Return when so many more events were acknowledged."""
        wanted = self.told.acknowledged + events_more
        self.until(lambda: self.told.acknowledged >= wanted or None, f"{events_more} more events acknowledged")

    def landed(self) -> int:
        """Rows so far."""
        return sum(self.store.landed().values())

    def until_lands(self, seconds: float = 120.0, into: store.PostgresStore | None = None) -> None:
        """Return when something has landed that was not even made yet when this was called."""
        fresh, into = len(self.told.state), into or self.store

        def look() -> bool | None:
            return into.run(_LATER.format(fresh))[0][0] > 0 or None

        self.until(look, "new events land", seconds)

    # -- the judgement

    def sample(self) -> None:
        """What is committed now must be there a moment later; everything may run."""
        committed = np.unique(self.logbook.committed_numbers(manifests.SINK))
        count = int(committed.max(initial=0)) + 1
        rows = self.store.rows(self.told.mix)
        letters = self.logbook.letters(self.told.mix).get(manifests.SINK, logbook.no_letters())
        present = columns.bits_of(rows.number, rows.place, count) | columns.letter_bits(letters, count)
        self.samples.append(columns.Sample(sink=manifests.SINK, committed=committed, present=present[committed]))

    def settle(self) -> None:
        """Wait until the lanes have committed all that is in the log."""

        def look() -> bool | None:
            try:
                return all(self.logbook.lag(sink) == 0 for sink in self.stores) or None
            except port.LogError:
                return None

        self.until(look, "everything committed", 180.0)

    def judge(self) -> verdict.Verdict:
        """End the load, wait until everything has its outcome and the status tells of it, compare. Raises where it is bad."""
        self.unload()
        self.settle()
        expected = stream.expected(len(self.told.state), self.told.mix)
        letters = self.logbook.letters(self.told.mix)
        lanes = {}
        for sink, stores in self.stores.items():
            rows = _together([one.rows(self.told.mix) for one in stores])
            lanes[sink] = columns.Lane(
                expected=expected,
                rows=rows,
                letters=letters.get(sink, logbook.no_letters()),
                ledger=None if sink in self.without_ledger else self._ledger(sink, len(rows.number)),
            )
        judged = columns.judge(self.told.state, lanes, self.samples)
        self._here.verdicts.append(judged)
        self._here.expect(judged.good, f"{self.namespace}: {judged}")
        return judged

    def _ledger(self, sink: str, rows: int) -> found.Ledger:
        """The lane's books as the status has them, once they tell of all rows or a minute and a half has gone."""

        def look() -> dict[str, Any] | None:
            books = next((one.get("ledger") for one in self.status().get("lanes", ()) if one["sink"] == sink), None)
            return books if books and int(books["rows"]["written"]) >= rows else None

        books = self.until(look, f"the status tells of {rows} rows", 90.0)
        events, written = books["events"], books["rows"]
        return found.Ledger(
            unexplained=int(books["unexplained"]),
            lost=int(events["lost"]),
            read=int(events["read"]),
            duplicates=int(events["duplicates"]),
            dead_lettered_events=int(events["deadLettered"]),
            written=int(written["written"]),
            dead_lettered_rows=int(written["deadLettered"]),
        )


@contextlib.contextmanager
def opened(here: world.World, suffix: str = "", mix: stream.Mix | None = None) -> Iterator[Site]:
    """A namespace with a pipeline of its own in it, not yet applied; the clients end with it."""
    made = Site(here, f"{here.name}{suffix}", mix or stream.Mix())
    here.namespaces.append(made.namespace)
    try:
        yield made
    finally:
        made.close()


def _together(parts: Sequence[columns.Rows]) -> columns.Rows:
    return columns.Rows(
        number=np.concatenate([one.number for one in parts]),
        place=np.concatenate([one.place for one in parts]),
        good=np.concatenate([one.good for one in parts]),
    )


def _condition(status: api.Object, kind: str) -> tuple[str, str]:
    one: api.Object = next((one for one in status.get("conditions", ()) if one["type"] == kind), {})
    return str(one.get("status", "")), str(one.get("reason", ""))


def _state(pod: api.Object) -> str:
    told = pod.get("status", {})
    return " ".join([str(told.get("phase")), *(json.dumps(one["state"])[:300] for one in told.get("containerStatuses", ()))])
