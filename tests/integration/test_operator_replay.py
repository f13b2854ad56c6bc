"""A DeadLetterReplay all the way: the operator on a real API server, the Job's own command as its pod, a real log, rows."""

from __future__ import annotations

import contextlib
import json
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration import job_pods, operating, running, test_dlq_replay
from tests.servers import kafka, kubernetes

_BROKER = "kafka.example:9092"
_CLICKHOUSE = {"url": "https://clickhouse:8443", "database": "web", "table": "clicks"}
_SINK = {"name": "warehouse", "type": "ClickHouse", "clickHouse": _CLICKHOUSE}
_LETTERS = 12


def _log(bootstrap: str) -> dict[str, Any]:
    return {"type": "Kafka", "kafka": {"bootstrapServers": [bootstrap], "partitions": 2, "replicationFactor": 1}}


@pytest.fixture(scope="module")
def operator(kubernetes_server: kubernetes.Kubernetes) -> Iterator[operating.Operator]:
    server = kubernetes_server
    server.kubectl("apply", "--server-side", "-f", str(operating.DEFINITIONS))
    server.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(operating.DEFINITIONS))
    operating.grant(server)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="penstock-operator-"))
    made = operating.Operator(server, directory)
    try:
        made.process.start()
        operating.until(lambda: not made.why_not_ready(), "the operator is ready")
        yield made
    finally:
        made.process.stop()
        shutil.rmtree(directory)


@pytest.fixture
def world(
    operator: operating.Operator, kubernetes_server: kubernetes.Kubernetes, kubernetes_namespace: str
) -> Iterator[operating.World]:
    with inhabited(kubernetes_server, operator, kubernetes_namespace) as made:
        yield made


@contextlib.contextmanager
def inhabited(server: kubernetes.Kubernetes, operator: operating.Operator, namespace: str) -> Iterator[operating.World]:
    """A namespace that admits restricted pods only; what was made there goes with it."""
    server.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    made = operating.World(server=server, operator=operator, namespace=namespace)
    yield made
    for kind in ("DeadLetterReplay", "BatchPipeline"):
        for name in made.items(kind):
            made.request("DELETE", made.place(kind, name))


class Theatre:
    """The pipeline on this machine, with twelve letters, and replays of it in the cluster."""

    def __init__(self, world: operating.World, run: running.Running, broker: str, folder: pathlib.Path) -> None:
        self.world, self.run, self._broker, self._folder = world, run, broker, folder
        self.pods: list[job_pods.RunningPod] = []

    def replay(self, name: str = "again", **spec: Any) -> None:
        made = {
            "apiVersion": "penstock.dev/v1alpha1",
            "kind": "DeadLetterReplay",
            "metadata": {"name": name, "namespace": self.world.namespace},
            "spec": {"pipelineRef": {"name": "orders"}, **spec},
        }
        self.world.patch(self.world.place("DeadLetterReplay", name), made)

    def edit(self, name: str = "again", **spec: Any) -> None:
        self.world.patch(self.world.place("DeadLetterReplay", name), {"spec": spec}, "application/merge-patch+json")

    def status(self, name: str = "again") -> dict[str, Any]:
        """What the operator says of the object as it is now; empty until it does."""
        live = self.world.get("DeadLetterReplay", name)
        told: dict[str, Any] = live.get("status", {})
        return told if told.get("observedGeneration") == live["metadata"]["generation"] else {}

    def holds(self, type_: str, name: str = "again") -> str:
        """The reason of a condition that is true, else empty."""
        told = self.status(name).get("conditions", ())
        return next((str(one["reason"]) for one in told if (one["type"], one["status"]) == (type_, "True")), "")

    def until(self, type_: str, reason: str, name: str = "again") -> dict[str, Any]:
        operating.until(lambda: self.holds(type_, name) == reason, f"{name}: {type_} {reason}")
        return self.status(name)

    def pod(self, name: str = "again") -> job_pods.RunningPod:
        """Its next pod, running."""
        folder = self._folder / str(len(self.pods))
        made = job_pods.RunningPod(
            self.world, name, folder, job_pods.free_address(), lambda text: text.replace(_BROKER, self._broker)
        )
        self.pods.append(made)
        return made

    def rows(self) -> list[tuple[Any, ...]]:
        return test_dlq_replay.bad_rows(self.run)


@pytest.fixture
def theatre(world: operating.World, kafka_server: kafka.Kafka, tmp_path: pathlib.Path) -> Iterator[Theatre]:
    """The lanes run on this machine, under the name that the object has in the cluster; the mended transform runs."""
    only = running.only_warehouse()
    text = running.changed(sinks=only, log=_log(kafka_server.bootstrap)).replace("shop", world.namespace)
    mended = running.changed(text, transform=test_dlq_replay.MENDED)
    with running.Running(tmp_path / "pipeline", text) as run:
        run.start()
        run.send(test_dlq_replay.BAD)
        run.settled()
        run.pipeline.stop()
        run.start(mended)
        world.apply("orders", log=_log(_BROKER), sinks=[_SINK])
        operating.until(lambda: "orders-token" in world.items("Secret"), "the pipeline is accepted")
        made = Theatre(world, run, kafka_server.bootstrap, tmp_path / "pods")
        try:
            yield made
        finally:
            for one in made.pods:
                one.close()


def test_letters_are_counted_put_back_held_killed_hastened_and_land_once(theatre: Theatre) -> None:
    """Catches a Job that no cluster takes, a change that does not reach the pod, counts that begin anew with a pod, letters
    that go twice, and a replay that is done again because its object was applied again."""
    theatre.replay(select={"categories": ["TransformFailed"]}, eventsPerSecond=1, suspendOnFailure={"percent": 100})
    theatre.pod().finish()
    counted = theatre.until("Complete", "Counted")
    assert (counted["selected"], counted["replayed"], counted["byCategory"]) == (_LETTERS, 0, {"TransformFailed": _LETTERS})
    assert [(one["count"], "ten" in one["example"]) for one in counted["byError"]] == [(_LETTERS, True)]
    assert theatre.rows() == []

    theatre.edit(action="Replay")
    first = theatre.pod()
    operating.until(lambda: theatre.status().get("replayed", 0) >= 1 and theatre.holds("Reconciling"), "it goes")
    theatre.edit(suspend=True)
    theatre.until("Suspended", "Asked")
    operating.until(lambda: first.gone, "its pod goes")
    assert first.end() == 3
    before = theatre.status()["replayed"]
    assert 1 <= before < _LETTERS

    theatre.edit(suspend=False)
    second = theatre.pod()
    operating.until(lambda: theatre.status().get("replayed", 0) > before, "it goes on, and is counted with what went before")
    second.evict()
    third = theatre.pod()
    theatre.edit(eventsPerSecond=1_000)
    last = json.loads(third.finish())
    done = theatre.until("Complete", "Replayed")
    counts = {"selected": _LETTERS, "replayed": _LETTERS, "landed": _LETTERS, "failed": 0, "quarantined": 0}
    assert {name: done[name] for name in counts} == counts
    assert last["replayed"] == _LETTERS
    assert theatre.rows() == test_dlq_replay.ROWS
    assert done["startedAt"] < done["finishedAt"]
    assert not theatre.holds("Reconciling")
    assert not theatre.holds("Stalled")

    theatre.world.request("DELETE", theatre.world.place("DeadLetterReplay", "again"))
    operating.until(lambda: not theatre.world.items("Job"), "its Jobs go with it")
    theatre.replay(
        select={"categories": ["TransformFailed"]},
        eventsPerSecond=7,
        suspendOnFailure={"percent": 100},
        action="Replay",
    )
    theatre.pod().finish()
    again = theatre.until("Complete", "AlreadyRun")
    assert {name: again[name] for name in counts} == counts
    assert theatre.rows() == test_dlq_replay.ROWS
    reasons = {one["reason"] for one in theatre.world.items("Event").values() if one["regarding"]["kind"] == "DeadLetterReplay"}
    assert reasons == {"Counted", "Replayed", "AlreadyRun"}
