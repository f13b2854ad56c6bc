"""The operator on a real API server, as a process with exactly the rights that `permissions` lists."""

from __future__ import annotations

import json
import pathlib
import shutil
import tempfile
import time
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration import job_pods, operating
from tests.servers import fixtures, kubernetes
from tests.unit.operator import cluster as examples

from penstock.core import runs
from penstock_operator import permissions
from penstock_operator.edge import api

_POD_MONITORS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "podmonitors.monitoring.coreos.com",
        "annotations": {"api-approved.kubernetes.io": "unapproved, a stub"},
    },
    "spec": {
        "group": "monitoring.coreos.com",
        "scope": "Namespaced",
        "names": {"plural": "podmonitors", "kind": "PodMonitor"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
_SCHEMA = {"fields": [{"name": "id", "type": "String"}]}


class _Started:
    """The operator, how it started, and where the audit log stood before."""

    def __init__(self, server: kubernetes.Kubernetes, directory: pathlib.Path) -> None:
        self.since = server.mark()
        self.operator = operating.Operator(server, directory)
        self.operator.process.start()
        self.waited = operating.until(self.operator.why_not_ready)
        server.kubectl("apply", "--server-side", "-f", str(operating.DEFINITIONS))
        operating.until(lambda: not self.operator.why_not_ready(), "the operator is ready")


@pytest.fixture(scope="module")
def started(kubernetes_server: kubernetes.Kubernetes, pytestconfig: pytest.Config) -> Iterator[_Started]:
    """An operator that was there before the kinds it looks after."""
    server = kubernetes_server
    server.kubectl("delete", "-f", str(operating.DEFINITIONS), "--ignore-not-found", "--wait")
    server.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(_POD_MONITORS))
    server.kubectl("wait", "--for=condition=Established", "crd/podmonitors.monitoring.coreos.com", "--timeout=60s")
    operating.grant(server)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="penstock-operator-"))
    made: _Started | None = None
    try:
        made = _Started(server, directory)
        pytestconfig.stash.setdefault(fixtures.SHOWN, {})["started"] = made.operator.process
        yield made
    finally:
        if made:
            pytestconfig.stash[fixtures.SHOWN].pop("started", None)
            made.operator.process.stop()
        server.kubectl("delete", "crd", "podmonitors.monitoring.coreos.com", "--wait=false")
        shutil.rmtree(directory)


@pytest.fixture
def world(started: _Started, kubernetes_server: kubernetes.Kubernetes, kubernetes_namespace: str) -> Iterator[operating.World]:
    made = operating.World(server=kubernetes_server, operator=started.operator, namespace=kubernetes_namespace)
    yield made
    for name in made.items("BatchPipeline"):
        made.request("DELETE", made.place("BatchPipeline", name))


def _up(world: operating.World, **spec: Any) -> None:
    """A pipeline whose pods run."""
    world.apply(**spec)
    operating.until(lambda: _all_ready(world), "all pods are ready")


def _all_ready(world: operating.World) -> bool:
    world.make_ready()
    return world.is_("Ready", "True") and world.is_("Reconciling", "False")


def _note(value: str) -> dict[str, Any]:
    """An edit that every Deployment shows."""
    return {"pods": {"annotations": {"note": value}}}


def _noted(deployment: dict[str, Any]) -> Any:
    return deployment["spec"]["template"]["metadata"].get("annotations", {}).get("note")


def test_the_definitions_may_come_after_the_operator(started: _Started) -> None:
    """Catches an operator that starts to watch kinds that are not there, and goes deaf."""
    assert "waiting for the definitions" in started.waited


def test_a_pipeline_is_made_reported_rolled_and_then_left_alone(world: operating.World) -> None:
    """Catches children that are missing, a roll-out in another order than sink, batcher, doors, and writes without a reason."""
    world.apply()
    operating.until(lambda: world.is_("Ready", "False", "NoPodReady"), "the first status")
    assert len(world.children()) == 17
    assert len(world.items("PodMonitor")) == 1
    operating.until(lambda: _all_ready(world))
    assert world.get("BatchPipeline", "clicks")["status"]["display"]["state"] == "Running"
    reasons = {one["reason"] for one in world.items("Event").values()}
    assert "Ready" in reasons

    world.apply(**_note("two"))
    order = list(operating.rolled(world, _noted, "two"))
    assert order == ["clicks--warehouse-sink", "clicks--warehouse-batcher", "clicks-ingest"]
    operating.until(lambda: _all_ready(world))
    world.quiet()
    mark = world.server.mark()
    time.sleep(5.0)
    assert world.writes(mark) == []


def test_an_edit_that_does_not_compile_changes_nothing_and_says_why(world: operating.World) -> None:
    """Catches pods that restart for an edit that can't run, and a message that doesn't name the expression."""
    good = {"schema": _SCHEMA, "transform": {"select": [{"name": "id"}]}}
    bad = {"schema": _SCHEMA, "transform": {"select": [{"name": "id", "value": "lower(nobody)"}]}}
    world.apply(**good)
    operating.until(lambda: world.is_("SpecValid", "True"))
    operating.until(lambda: len(world.children()) == 17)
    before = _templates(world)
    for _ in range(2):
        world.apply(**bad)
        operating.until(lambda: world.is_("SpecValid", "False", "SpecInvalid"))
        told = world.condition("SpecValid")["message"]
        assert "spec.transform.select[0].value" in told
        assert "nobody" in told
        assert _templates(world) == before
        world.apply(**good)
        operating.until(lambda: world.is_("SpecValid", "True"))
    again = [one for one in world.items("Event").values() if one["reason"] == "SpecInvalid"]
    assert [one.get("series", {}).get("count") for one in again] == [2]


def _templates(world: operating.World) -> dict[str, Any]:
    return {name: one["spec"]["template"] for name, one in world.items("Deployment").items()}


def test_what_somebody_changes_or_deletes_is_put_right(world: operating.World) -> None:
    """Catches drift that waits for a sweep, and a child that was deleted while no operator was there."""
    world.apply()
    operating.until(lambda: len(world.children()) == 17)
    deployment = world.place("Deployment", "clicks-ingest")
    world.patch(deployment, {"spec": {"replicas": 7}}, "application/merge-patch+json")
    operating.until(lambda: world.get("Deployment", "clicks-ingest")["spec"]["replicas"] == 2, "replicas are put right")
    world.request("DELETE", world.place("Service", "clicks-ingest"))
    operating.until(lambda: "clicks-ingest" in world.items("Service"), "the Service is made again")

    world.operator.process.stop()
    world.request("DELETE", world.place("PodDisruptionBudget", "clicks-ingest"))
    world.request("DELETE", world.place("ConfigMap", "clicks-accepted"))
    world.operator.process.start()
    operating.until(lambda: len(world.children()) == 17, "what was deleted is made again")


def test_an_operator_that_is_killed_between_two_children_goes_on(world: operating.World) -> None:
    """Catches a plan that can't be begun again in the middle; the unit tests try it between any two."""
    world.apply()
    operating.until(lambda: len(world.children()) >= 4)
    world.operator.process.kill()
    world.operator.process.start()
    operating.until(lambda: len(world.children()) == 17 and world.condition("Ready"), "all children are there")


def test_an_api_server_that_was_away_is_found_again(world: operating.World) -> None:
    """Catches an operator that ends, or stays deaf, when the API server comes back."""
    world.apply()
    operating.until(lambda: len(world.children()) == 17)
    world.quiet()
    pid = world.operator.process.pid
    world.server.api.kill()
    time.sleep(8.0)
    world.server.api.start()
    world.apply(**_note("after"))
    operating.until(lambda: _noted(world.get("Deployment", "clicks--warehouse-sink")) == "after", "the edit is seen")
    assert world.operator.process.running
    assert world.operator.process.pid == pid


def test_a_storm_of_edits_ends_at_the_last_one(world: operating.World) -> None:
    """Catches an edit that is lost while another one is looked at, and one roll-out for each of them."""
    for number in range(50):
        world.apply(**_note(str(number)))
    operating.until(lambda: _noted(world.get("Deployment", "clicks--warehouse-sink")) == "49", "the last edit has arrived")
    operating.until(lambda: world.is_("SpecValid", "True"))
    world.quiet()
    assert _noted(world.get("Deployment", "clicks--warehouse-sink")) == "49"
    assert '"note": "49"' in world.get("ConfigMap", "clicks-accepted")["data"]["pipeline.json"]


def test_a_pipeline_that_is_deleted_leaves_nothing(world: operating.World) -> None:
    """Catches a child without its owner, and an operator that makes again what is being collected."""
    world.apply()
    operating.until(lambda: len(world.children()) == 17)
    world.request("DELETE", world.place("BatchPipeline", "clicks"))
    operating.until(lambda: not world.children(), "the children are collected")
    world.quiet()
    assert world.children() == set()


def test_a_name_that_somebody_else_has_is_left_to_them(world: operating.World) -> None:
    """Catches an operator that takes over what others have made, which would go with the pipeline."""
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "clicks-accepted"}, "data": {"mine": "1"}}
    world.request("POST", world.place("ConfigMap"), theirs)
    world.apply()
    operating.until(lambda: world.is_("Stalled", "True", "NameTaken"))
    assert world.get("ConfigMap", "clicks-accepted")["data"] == {"mine": "1"}
    assert "ownerReferences" not in world.get("ConfigMap", "clicks-accepted")["metadata"]
    _counted(world)


def _counted(world: operating.World) -> None:
    """What is refused is tried again ever later: not a hot loop."""
    mark = world.server.mark()
    time.sleep(3.0)
    assert len(world.writes(mark)) < 40


_HOSTILE: dict[str, dict[str, Any]] = {
    "the cluster's own API": {
        "sinks": [examples.sink(clickHouse={**examples.CLICKHOUSE["clickHouse"], "url": "https://kubernetes.default.svc"})]
    },
    "the cloud's credentials": {
        "sinks": [examples.sink(clickHouse={**examples.CLICKHOUSE["clickHouse"], "url": "http://169.254.169.254/latest"})]
    },
    "an expression that reads files": {
        "schema": _SCHEMA,
        "transform": {"select": [{"name": "id", "value": "(SELECT content FROM read_text('/etc/passwd'))"}]},
    },
}


def test_hostile_pipelines_are_told_so_and_make_nothing(world: operating.World) -> None:
    """Catches a pod that was made for a pipeline that must not run, and an operator that is kept busy by one."""
    for number, spec in enumerate(_HOSTILE.values()):
        world.apply(name=f"bad-{number}", **spec)
    for number, what in enumerate(_HOSTILE):
        operating.until(lambda name=f"bad-{number}": world.is_("SpecValid", "False", name=name), what)  # type: ignore[misc]
    assert world.children() == set()
    world.quiet()


def test_the_second_of_two_with_one_topic_waits_until_the_first_is_gone(world: operating.World) -> None:
    """Catches a running pipeline that a later one stops, two that write into one log, and one that waits for ever."""
    world.apply()
    operating.until(lambda: len(world.children()) == 17)
    log = examples.KAFKA_LOG["kafka"]
    told = {"bootstrapServers": log["bootstrapServers"], "topic": f"{world.namespace}.clicks.events"}
    world.apply(name="copy", sinks=[{"name": "out", "type": "Kafka", "kafka": told}])
    operating.until(lambda: world.is_("SpecValid", "False", "TopicClaimed", name="copy"))
    assert f"pipeline {world.namespace}/clicks" in world.condition("Stalled", "copy")["message"]
    assert not any(name.startswith("copy") for _, name in world.children())
    assert world.is_("SpecValid", "True")
    # What a new operator learns from the cluster alone.
    world.operator.process.kill()
    world.operator.process.start()
    world.apply(deadLetters={"retentionHours": 2})
    operating.until(lambda: world.is_("SpecValid", "True"))
    world.request("DELETE", world.place("BatchPipeline", "clicks"))
    operating.until(lambda: world.is_("SpecValid", "True", name="copy"), "the topic is free")
    operating.until(lambda: any(name == "copy-ingest" for _, name in world.children()))


_ELSEWHERE = {"type": "Basic", "secretRef": {"name": "a", "namespace": "kube-system"}}
_REFUSED_BY_THE_API: tuple[dict[str, Any], ...] = (
    {"sinks": [examples.sink(type="Oracle")]},
    {"sinks": [{**examples.sink(), "image": "evil"}]},
    {"sinks": [examples.sink(clickHouse={**examples.CLICKHOUSE["clickHouse"], "authentication": _ELSEWHERE})]},
    {"pods": {"volumes": [{"hostPath": {"path": "/"}}]}},
    {"transform": {"filter": {"expression": "x" * 100_000}}},
)  # fmt: skip


def test_what_no_pipeline_may_have_is_refused_at_once(world: operating.World) -> None:
    """Catches a reference into another namespace, an image, a volume, or a name nobody can use, that gets stored."""
    for name, spec in (*(("bad", one) for one in _REFUSED_BY_THE_API), ("n" * 253, {})):
        made = examples.pipeline(**spec)
        made["metadata"] = {"name": name, "namespace": world.namespace}
        with pytest.raises(urllib.error.HTTPError) as refused:
            world.request("POST", world.place("BatchPipeline") + "?fieldValidation=Strict", made)
        refused.value.close()
        assert refused.value.code in (400, 422), spec


def test_a_quota_that_is_used_up_is_told_and_nothing_loops(world: operating.World) -> None:
    """Catches an operator that knocks at a closed door."""
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q"},
        "spec": {"hard": {"count/deployments.apps": "0"}},
    }
    world.request("POST", f"/api/v1/namespaces/{world.namespace}/resourcequotas", quota)
    operating.until(
        lambda: "hard" in world.request("GET", f"/api/v1/namespaces/{world.namespace}/resourcequotas/q").get("status", {})
    )
    world.apply()
    operating.until(lambda: world.is_("Stalled", "True", "Forbidden"))
    assert "exceeded quota" in world.condition("Stalled")["message"]
    _counted(world)
    world.request("DELETE", f"/api/v1/namespaces/{world.namespace}/resourcequotas/q")


async def test_a_lease_is_taken_kept_and_given_back_with_the_rights_there_are(
    started: _Started, kubernetes_server: kubernetes.Kubernetes
) -> None:
    """Catches a right that the Lease needs and the Role lacks, and one that it has for nothing."""
    since = kubernetes_server.mark()
    connection = await api.Api.connected(kubernetes_server.as_service_account(operating.HOME, operating.ACCOUNT))
    two = [operating.lease(connection, holder) for holder in ("a", "b")]
    try:
        await two[0].acquire()
        assert not await two[1]._tried()
        await two[0].release()
        assert await two[1]._tried()
    finally:
        await connection.close()
    seen = [one for one in kubernetes_server.requests(since) if one.user == operating.USER and one.resource == "leases"]
    assert {one.code for one in seen} <= {200, 201, 404}
    assert {(one.resource, one.verb) for one in seen} == {
        (one.resource, verb) for one in permissions.IN_OWN_NAMESPACE for verb in one.verbs
    }


def test_the_role_grants_what_is_used_and_nothing_else(world: operating.World, started: _Started) -> None:
    """Catches a right that is missing, one that nobody needs, and children of a sink that is gone."""
    two = [examples.sink("warehouse"), examples.sink("lake")]
    _up(world, sinks=two)
    for _ in range(2):  # the second time the Event is there already
        world.apply(**_HOSTILE["the cluster's own API"])
        operating.until(lambda: world.is_("SpecValid", "False"))
        world.apply(sinks=two)
        operating.until(lambda: world.is_("SpecValid", "True"))
    world.apply(sinks=two[:1])
    operating.until(lambda: _all_ready(world) and not any("--lake" in name for _, name in world.children()), "the sink is gone")
    _replays(world)

    mine = [one for one in world.server.requests(started.since) if one.user == operating.USER]
    requests = [one for one in mine if one.resource not in ("", "leases")]
    # An API server that has just started knows no Roles for a moment, so what counts is whether it was ever let in.
    let_in = {(one.resource, one.verb) for one in requests if one.code != 403}
    assert {(one.resource, one.verb) for one in requests} == let_in
    granted = {(one.resource, verb) for one in permissions.IN_WATCHED_NAMESPACES for verb in one.verbs}
    assert let_in - granted == set()
    # To apply what is not there yet is a patch in the log, and asks for the right to create.
    made_by_applying = {(one.resource, "create") for one in permissions.IN_WATCHED_NAMESPACES if "patch" in one.verbs}
    assert granted - let_in - made_by_applying == set()


def _replays(world: operating.World) -> None:
    """A replay whose pod fails and that is held, and another that ends well and goes because it asked to."""
    held = _replay(world, "held")
    job_pods.ended(world, job_pods.pod(world, "held")["metadata"]["name"], 1, "a file is wrong")

    def holds(type_: str) -> bool:
        told = world.get("DeadLetterReplay", "held").get("status", {}).get("conditions", ())
        return any((one["type"], one["status"]) == (type_, "True") for one in told)

    operating.until(lambda: holds("Failed"), "it has failed")
    world.patch(held, {"spec": {"suspend": True}}, "application/merge-patch+json")
    operating.until(lambda: holds("Suspended") and not world.items("Job"), "its Job goes")
    _replay(world, "brief", ttlSecondsAfterFinished=0)
    done = runs.encode(runs.Report(phase=runs.Phase.COMPLETE, finished_at=1)).decode()
    job_pods.ended(world, job_pods.pod(world, "brief")["metadata"]["name"], 0, done)
    operating.until(lambda: [*world.items("DeadLetterReplay")] == ["held"], "it goes")


def _replay(world: operating.World, name: str, **spec: Any) -> str:
    place, metadata = world.place("DeadLetterReplay", name), {"name": name, "namespace": world.namespace}
    spec = {"pipelineRef": {"name": "clicks"}, "action": "Replay"} | spec
    world.patch(place, {"apiVersion": "penstock.dev/v1alpha1", "kind": "DeadLetterReplay", "metadata": metadata, "spec": spec})
    return place
