"""The situations of docs/operator.md, each brought about in a cluster and read as a person would at three in the morning.

What the table says is written down here once more: it is what the conditions and `kubectl get bp` are held against.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Iterator

import confluent_kafka
from confluent_kafka import admin
from tests.servers import installed, postgres

from e2e.chaos.kafka import store, stream
from e2e.checker import columns
from e2e.scenarios import api, manifests, site, world

_SKIP = ("penstock", "skip", manifests.SINK, "--at=127.0.0.1:9465", "--token-file=/var/run/penstock/token/token", "--yes")
_GARBAGE = b"this is no block"
_KAFKA_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table. Of a pair, an empty second word stands for any reason."""

    state: str
    ready: str = "True"
    stalled: tuple[str, str] = ("False", "")
    landing: tuple[str, str] = ("True", "")


WELL = Row(state="Running")
STORE_AWAY = Row(state="Degraded", landing=("False", "CircuitOpen"))
STORE_WRONG = Row(state="Halted", landing=("False", "SinkMisconfigured"))
SECRET_GONE = Row(state="Degraded", landing=("False", "SecretMissing"))
FLOOD = Row(state="Halted", landing=("False", "RejectFlood"))
CORRUPT = Row(state="Halted", stalled=("True", "CorruptBlock"), landing=("False", "CorruptBlock"))
GAP = Row(state="Halted", stalled=("True", "LogGap"), landing=("False", "LogGap"))
LOG_AWAY = Row(state="Down", ready="False", landing=("Unknown", ""))
QUOTA = Row(state="Stalled", stalled=("True", ""), landing=("True", ""))


def reads(here: world.World, one: site.Site, row: Row, seconds: float = 180.0) -> None:
    """Wait until the status is that of the row; `kubectl get bp` shows the same, and the message is more than a word."""

    def look() -> bool | None:
        told = {kind: one.condition(kind) for kind in ("Ready", "Stalled", "Landing")}
        fits = told["Ready"][0] == row.ready and _fits(told["Stalled"], row.stalled) and _fits(told["Landing"], row.landing)
        return (fits and one.status().get("display", {}).get("state") == row.state) or None

    one.until(look, f"{one.namespace} is as the table says: {row}", seconds)
    shown = here.kubectl("get", "bp", manifests.NAME, f"--namespace={one.namespace}", "--no-headers").split()
    here.expect(shown[1:3] == [row.ready, row.state], f"kubectl get bp shows {shown}, not {row}")
    here.note(f"{row.state}: {str(one.status().get('message'))[:160]}")


def _fits(told: tuple[str, str], row: tuple[str, str]) -> bool:
    return told[0] == row[0] and (not row[1] or told[1] == row[1])


def store_troubles(here: world.World) -> None:
    """The store away, its table renamed, its Secret gone, very much rejected by it: each told, each mended, nothing lost."""
    with _own_postgres(here) as server, site.opened(here) as one:
        one.use(store.PostgresStore(server, "own"))
        one.start()
        one.load(here.scale.rate)
        one.until_lands()
        server.server.kill()
        reads(here, one, STORE_AWAY)
        server.server.start()
        reads(here, one, WELL)
        one.store.run("ALTER TABLE orders RENAME TO elsewhere")
        reads(here, one, STORE_WRONG)
        one.store.run("ALTER TABLE elsewhere RENAME TO orders")
        reads(here, one, WELL)
        one.until_lands()
        here.api.delete("secrets", one.namespace, "pg")
        _replace(here, one, "sink")
        reads(here, one, SECRET_GONE)
        one.grant()
        reads(here, one, WELL, 300.0)
        one.until_lands()
        one.judge()


@contextlib.contextmanager
def _own_postgres(here: world.World) -> Iterator[postgres.Postgres]:
    """One that may be taken away from nobody else."""
    with tempfile.TemporaryDirectory(prefix="e2e-own-", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        made = postgres.Postgres(installed.found(), folder, here.cluster.machine_address)
        made.initialise()
        made.server.start()
        try:
            yield made
        finally:
            made.server.stop()


def _replace(here: world.World, one: site.Site, role: str) -> None:
    for pod in one.pods(role):
        here.api.delete("pods", one.namespace, pod["metadata"]["name"], grace_seconds=1)


def reject_flood(here: world.World) -> None:
    """More than half of the rows are rejected: the lane halts. `flood.mode: Ignore` makes letters of them, and goes on."""
    with site.opened(here, mix=stream.Mix(rejected=6_000)) as one:
        one.start()
        one.load(here.scale.rate)
        reads(here, one, FLOOD)
        one.patch({"deadLetters": {"flood": {"mode": "Ignore"}}})
        reads(here, one, WELL, site.READY_SECONDS)
        one.until_lands()
        one.judge()


def log_damaged(here: world.World) -> None:
    """A record that is no block, then records that are gone: the lane halts, `penstock skip` goes on, all else lands."""
    with site.opened(here) as one:
        one.without_ledger.add(manifests.SINK)
        one.start()
        one.load(here.scale.rate)
        one.until_lands()
        topic = str(one.status()["log"]["topic"])
        _produce(here, topic)
        reads(here, one, CORRUPT)
        here.note(_skipped(here, one))
        reads(here, one, WELL)
        one.until_lands()
        one.patch({"lifecycle": "Paused"})
        one.until_state("Paused")
        one.go_on(here.scale.events)
        one.unload()
        _forget(here, one, topic)
        one.patch({"lifecycle": "Running"})
        reads(here, one, GAP)
        here.note(_skipped(here, one))
        one.load(here.scale.rate)
        reads(here, one, WELL)
        one.until_lands()
        one.judge()


def _produce(here: world.World, topic: str) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": here.servers.kafka.bootstrap})
    producer.produce(topic, _GARBAGE, partition=0)
    here.expect(producer.flush(_KAFKA_SECONDS) == 0, "the broker did not take the record")


def _forget(here: world.World, one: site.Site, topic: str) -> None:
    """Delete what the lane has not read of one partition. Nobody can say of these events any more that they must land."""
    gone = one.logbook.unread(manifests.SINK)
    partition = max(gone, key=lambda at: len(gone[at].numbers))
    here.expect(len(gone[partition].numbers) > 0, "nothing is unread")
    client = admin.AdminClient({"bootstrap.servers": here.servers.kafka.bootstrap})
    below = confluent_kafka.TopicPartition(topic, partition, gone[partition].end)
    for done in client.delete_records([below]).values():
        done.result(_KAFKA_SECONDS)
    one.told.state[gone[partition].numbers] = columns.SENT | columns.UNKNOWN


def _skipped(here: world.World, one: site.Site) -> str:
    """What was left out, once the batcher that has the partition does it."""

    def look() -> str | None:
        for pod in one.pods("batcher"):
            with contextlib.suppress(world.StuckError):
                return here.kubectl("exec", pod["metadata"]["name"], f"--namespace={one.namespace}", "--", *_SKIP).splitlines()[0]
        return None

    return one.until(look, "penstock skip does it")


def log_away(here: world.World) -> None:
    """The brokers are gone for a while: Down, and by itself well again."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        here.servers.kafka.broker.kill()
        try:
            reads(here, one, LOG_AWAY)
        finally:
            here.servers.kafka.broker.start()
        reads(here, one, WELL)
        one.until_lands()
        one.judge()


def quota_used_up(here: world.World) -> None:
    """An edit for which the namespace has no room: the cluster's reason is told, the old pods go on; with room it rolls."""
    with site.opened(here) as one:
        one.start()
        one.load(here.scale.rate)
        one.go_on(here.scale.events)
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full", "namespace": one.namespace}}
        here.api.apply("resourcequotas", quota | {"spec": {"hard": {"pods": str(len(one.pods()))}}})
        here.until(functools.partial(_counted, here, one.namespace), "the quota counts")
        one.apply(manifests.transformed(copy.deepcopy(one.manifest), "cast(note as bigint) * 3"))
        reads(here, one, QUOTA)
        one.until_lands()
        here.api.delete("resourcequotas", one.namespace, "full")
        one.until_state("Running")
        one.until_lands()
        one.judge()


def _counted(here: world.World, namespace: str) -> bool | None:
    quota: api.Object = here.api.get("resourcequotas", namespace, "full") or {}
    return "pods" in quota.get("status", {}).get("used", {}) or None


EACH = {
    "store troubles": store_troubles,
    "reject flood": reject_flood,
    "log damaged": log_damaged,
    "quota used up": quota_used_up,
    "log away": log_away,
}
