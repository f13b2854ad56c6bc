"""The definitions and the children on a real API server: it takes them, keeps what was meant, and needs nothing twice."""

from __future__ import annotations

import datetime
import json
import pathlib
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from e2e.cluster import shell
from tests.servers import kubernetes
from tests.unit.operator import cluster as examples

from penstock_operator import actions, children, snapshot
from penstock_operator.planning import plan, rollout
from penstock_operator.reporting import status

_ROOT = pathlib.Path(__file__).parents[2]
_DEFINITIONS = _ROOT / "charts" / "penstock" / "files" / "crds"
_BROKEN = _ROOT / "tests" / "golden" / "pipelines" / "invalid"
_PATIENCE_SECONDS = 60.0
_PLURALS = {"NetworkPolicy": "networkpolicies"}


class _Api:
    """Server-side apply as the operator does it, and the lists it looks at."""

    def __init__(self, server: kubernetes.Kubernetes, namespace: str) -> None:
        self.server, self.namespace = server, namespace

    def apply(self, manifest: dict[str, Any], *, subresource: str = "") -> dict[str, Any]:
        place = f"{self._place(manifest['apiVersion'], manifest['kind'])}/{manifest['metadata']['name']}{subresource}"
        query = "fieldManager=penstock&fieldValidation=Strict&force=true"
        request = urllib.request.Request(
            f"{self.server.url}{place}?{query}",
            data=json.dumps(manifest).encode(),
            headers={"Content-Type": "application/apply-patch+yaml"},
            method="PATCH",
        )
        with self.server.open(request) as answer:
            made: dict[str, Any] = json.loads(answer.read())
        return made

    def snapshot(self, name: str) -> snapshot.Snapshot:
        found = []
        for api_version, kind in children.MANAGED:
            if kind != "PodMonitor":
                place = f"{self._place(api_version, kind)}?labelSelector=penstock.dev/pipeline%3D{name}"
                listed = json.loads(self.server.get(place))["items"]
                found += [{**one, "apiVersion": api_version, "kind": kind} for one in listed]
        place = f"{self._place('penstock.dev/v1alpha1', 'BatchPipeline')}/{name}"
        return snapshot.Snapshot(pipeline=json.loads(self.server.get(place)), children=tuple(found))

    def _place(self, api_version: str, kind: str) -> str:
        root = f"/api/{api_version}" if api_version == "v1" else f"/apis/{api_version}"
        return f"{root}/namespaces/{self.namespace}/{_PLURALS.get(kind, kind.lower() + 's')}"


@pytest.fixture(scope="module")
def with_definitions(kubernetes_server: kubernetes.Kubernetes) -> kubernetes.Kubernetes:
    """A server that knows both kinds."""
    kubernetes_server.kubectl("apply", "--server-side", "-f", str(_DEFINITIONS))
    kubernetes_server.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(_DEFINITIONS))
    return kubernetes_server


@pytest.fixture
def api(with_definitions: kubernetes.Kubernetes, kubernetes_namespace: str) -> _Api:
    """A namespace under the restricted standard."""
    with_definitions.kubectl("label", "namespace", kubernetes_namespace, "pod-security.kubernetes.io/enforce=restricted")
    return _Api(with_definitions, kubernetes_namespace)


def _pipeline(api: _Api, **spec: Any) -> None:
    described = examples.pipeline(**spec)
    described["metadata"] = {"name": "clicks", "namespace": api.namespace}
    api.server.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(described))


def _take(api: _Api, planned: list[actions.Action]) -> None:
    for action in planned:
        if isinstance(action, actions.Apply):
            api.apply(action.manifest)
        elif isinstance(action, actions.CreateToken):
            secret = {**action.manifest, "stringData": {action.key: "a token"}}
            api.server.kubectl("create", "-f", "-", stdin=json.dumps(secret))


def _plan(api: _Api) -> list[actions.Action]:
    return plan.plan(api.snapshot("clicks"), examples.SETTINGS)


_FULL = {
    "serviceAccountName": "default",
    "source": {"ingest": {"tls": {"secretRef": {"name": "door"}}, "replicas": {"min": 1}}},
    "pods": {
        "resources": {
            "batcher": {"requests": {"cpu": "1000m", "memory": "1024Mi", "ephemeral-storage": 1048576}, "limits": {"cpu": 2}}
        },
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
        "nodeSelector": {"disk": "fast"},
        "annotations": {"note": ""},
    },
}


@pytest.mark.parametrize("spec", [{}, _FULL], ids=["minimal", "full"])
def test_what_is_planned_is_taken_and_not_planned_again(api: _Api, spec: dict[str, Any]) -> None:
    """Catches a manifest the API refuses, and one that it rewrites so that the operator sees drift for ever."""
    _pipeline(api, **spec)
    planned = _plan(api)
    assert len(planned) == 17
    _take(api, planned)
    before = {one["metadata"]["uid"]: one["metadata"]["resourceVersion"] for one in api.snapshot("clicks").children}
    assert [actions.described(one) for one in _plan(api)] == []
    for action in planned:
        # Of the others a controller may just be writing the status.
        if isinstance(action, actions.Apply) and action.manifest["kind"] in ("ConfigMap", "Service", "NetworkPolicy"):
            made = api.apply(action.manifest)
            assert made["metadata"]["resourceVersion"] == before[made["metadata"]["uid"]]


def test_pods_are_let_in_under_the_restricted_standard(api: _Api) -> None:
    """Catches a right that a namespace refuses: the controllers would try for ever and make no pod."""
    _pipeline(api)
    _take(api, _plan(api))
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        there = [one for one in api.snapshot("clicks").children if one["kind"] == "Deployment"]
        assert [rollout.failure(one) for one in there] == [None, None, None]
        if sum(one.get("status", {}).get("replicas", 0) for one in there) == 4:
            return
        time.sleep(0.1)
    raise AssertionError("the controllers made no pods")


def test_a_status_is_taken_and_shown_in_columns(api: _Api) -> None:
    """Catches a status of another form than its definition, and columns that stay empty."""
    _pipeline(api)
    live = api.snapshot("clicks")
    now = datetime.datetime(2026, 1, 31, 8, tzinfo=datetime.UTC)
    lane = snapshot.LaneReport(sink="warehouse", state="Running", rows=18_400, oldest_unread_seconds=4.2, outstanding=18)
    report = snapshot.PodReport(pod="b", role="batcher", log_id="7f", log_bytes=1, lanes=(lane,))
    seen = snapshot.Snapshot(pipeline=live.pipeline, children=live.children, reports=(report,))
    made = status.status(seen, examples.SETTINGS, snapshot.Observations(now=now))
    told = {key: live.pipeline[key] for key in ("apiVersion", "kind")}
    api.apply({**told, "metadata": {"name": "clicks", "namespace": api.namespace}, "status": made}, subresource="/status")
    assert api.snapshot("clicks").pipeline["status"] == made
    shown = api.server.kubectl("get", "bp", "clicks", f"--namespace={api.namespace}", "-o", "wide").splitlines()
    assert shown[0].split()[:10] == ["NAME", "READY", "STATE", "RATE", "LAG", "BATCH", "CIRCUIT", "DEAD", "RETAIN", "SEEN"]
    assert shown[1].split()[:8] == ["clicks", "False", "Starting", "-", "4.2s", "18k", "Closed", "18"]


def test_letters_that_are_all_gone_are_taken_as_a_status(api: _Api) -> None:
    """Catches an empty map where there was a full one: the API server makes null of it and refuses the status for ever."""
    _pipeline(api)
    for categories in ({"SinkRejected": 2, "TransformFailed": 1}, {}, {"TransformFailed": 1}):
        live = api.snapshot("clicks")
        lane = snapshot.LaneReport(
            sink="warehouse", state="Running", by_category=categories, outstanding=sum(categories.values())
        )
        report = snapshot.PodReport(pod="b", role="batcher", log_id="7f", lanes=(lane,))
        seen = snapshot.Snapshot(pipeline=live.pipeline, children=live.children, reports=(report,))
        made = status.current(seen, examples.SETTINGS, snapshot.Observations(now=datetime.datetime.now(datetime.UTC)))
        told = {key: live.pipeline[key] for key in ("apiVersion", "kind")}
        api.apply({**told, "metadata": {"name": "clicks", "namespace": api.namespace}, "status": made}, subresource="/status")
        assert api.snapshot("clicks").pipeline["status"] == made


def test_a_broken_rule_is_refused_at_its_field(api: _Api) -> None:
    """Catches rules that the API server does not ask, and fields it does not name."""
    with pytest.raises(shell.CommandError) as refused:
        api.server.kubectl("apply", f"--namespace={api.namespace}", "--server-side", "-f", str(_BROKEN / "unions.yaml"))
    text = str(refused.value)
    for field in ("spec.sinks[2].postgres.key", "spec.schema.fields[2].fields[0].element.fields", "spec.log.kafka"):
        assert f"{field}: Invalid value" in text
    assert "must be set when write is Upsert, and only then. Name the columns" in text


def test_a_replay_keeps_what_it_was_made_with(api: _Api) -> None:
    """Catches a replay that selects something else while it runs, and one that can't be suspended."""
    made = {
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "DeadLetterReplay",
        "metadata": {"name": "again", "namespace": api.namespace},
        "spec": {"pipelineRef": {"name": "clicks"}, "action": "DryRun"},
    }
    api.apply(made)
    api.apply({**made, "spec": {**made["spec"], "suspend": True, "action": "Replay", "eventsPerSecond": 5}})
    for change in ({"pipelineRef": {"name": "other"}}, {"action": "DryRun"}, {"select": {"sinks": ["lake"]}}, {"reason": "none"}):
        with pytest.raises(urllib.error.HTTPError) as refused:
            api.apply({**made, "spec": {**made["spec"], "action": "Replay", **change}})
        refused.value.close()
        assert refused.value.code == 422
