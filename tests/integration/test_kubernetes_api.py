"""The API server that operator tests build on: does it check, watch, collect, refuse and remember as a real one?"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from e2e.cluster import shell
from tests.servers import kubernetes

GROUP = "tests.penstock.dev"
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def gates(kubernetes_server: kubernetes.Kubernetes) -> Iterator[str]:
    """A kind of this module's own, with a rule between two fields."""
    plural = f"gates{uuid.uuid4().hex[:8]}"
    spec = {"properties": {name: {"type": "integer"} for name in ("low", "high")}, "type": "object"}
    rule = {"rule": "self.low <= self.high", "message": "low must not exceed high"}
    schema = {"type": "object", "properties": {"spec": {**spec, "x-kubernetes-validations": [rule]}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    kind = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural.title()},
            "versions": [version],
        },
    }
    kubernetes_server.kubectl("apply", "-f", "-", stdin=json.dumps(kind))
    kubernetes_server.kubectl("wait", "--for=condition=Established", f"crd/{plural}.{GROUP}", "--timeout=60s")
    yield plural
    kubernetes_server.kubectl("delete", "crd", f"{plural}.{GROUP}", "--wait=false")


def gate(plural: str, low: int, high: int) -> dict[str, Any]:
    spec = {"low": low, "high": high}
    return {"apiVersion": f"{GROUP}/v1", "kind": plural.title(), "metadata": {"name": "gate"}, "spec": spec}


def applied(server: kubernetes.Kubernetes, path: str, obj: dict[str, Any]) -> dict[str, Any]:
    """The answer to a server-side apply."""
    request = urllib.request.Request(
        f"{server.url}{path}?fieldManager=test",
        method="PATCH",
        data=json.dumps(obj).encode(),
        headers={"Content-Type": "application/apply-patch+yaml"},
    )
    with server.open(request) as answer:
        return dict(json.load(answer))


def test_an_object_of_a_new_kind_is_checked_stored_and_watched(
    kubernetes_server: kubernetes.Kubernetes, kubernetes_namespace: str, gates: str
) -> None:
    """Catches an API without the rules of the schema, without server-side apply, or whose watches say nothing."""
    path = f"/apis/{GROUP}/v1/namespaces/{kubernetes_namespace}/{gates}"
    with pytest.raises(urllib.error.HTTPError) as refused:
        applied(kubernetes_server, f"{path}/gate", gate(gates, 5, 1))
    with refused.value as answer:
        assert (answer.code, "low must not exceed high" in answer.read().decode()) == (422, True)

    with kubernetes_server.open(urllib.request.Request(f"{kubernetes_server.url}{path}?watch=true")) as watch:
        first = applied(kubernetes_server, f"{path}/gate", gate(gates, 1, 5))
        again = applied(kubernetes_server, f"{path}/gate", gate(gates, 1, 5))
        assert first["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]
        applied(kubernetes_server, f"{path}/gate", gate(gates, 1, 7))
        seen = [json.loads(watch.readline()) for _ in range(2)]
    assert [(event["type"], event["object"]["spec"]["high"]) for event in seen] == [("ADDED", 5), ("MODIFIED", 7)]


def test_an_account_may_do_what_its_role_says_and_nothing_else(
    kubernetes_server: kubernetes.Kubernetes, kubernetes_namespace: str
) -> None:
    """Catches an API that lets everybody do everything, under which no test of the operator's rights would mean anything."""
    inside = f"--namespace={kubernetes_namespace}"
    kubernetes_server.kubectl("create", "serviceaccount", "reader", inside)
    kubernetes_server.kubectl("create", "role", "reader", "--verb=get,list", "--resource=configmaps", inside)
    kubernetes_server.kubectl(
        "create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={kubernetes_namespace}:reader", inside
    )
    reader = kubernetes_server.as_service_account(kubernetes_namespace, "reader")

    assert "kube-root-ca.crt" in kubernetes_server.kubectl("get", "configmaps", kubeconfig=reader)
    with pytest.raises(shell.CommandError, match=r'cannot list resource "secrets"'):
        kubernetes_server.kubectl("get", "secrets", kubeconfig=reader)
    with pytest.raises(shell.CommandError, match=r'cannot create resource "configmaps"'):
        kubernetes_server.kubectl("create", "configmap", "mine", kubeconfig=reader)


def test_what_an_owner_owns_goes_with_it(kubernetes_server: kubernetes.Kubernetes, kubernetes_namespace: str) -> None:
    """Catches controllers that don't run: a Deployment without pods, and children that outlive their owner."""
    inside = f"--namespace={kubernetes_namespace}"
    kubernetes_server.kubectl("create", "deployment", "web", "--image=none", "--replicas=2", inside)
    until(lambda: kubernetes_server.kubectl("get", "pods", "-o", "name", inside).count("pod/") == 2)
    kubernetes_server.kubectl("delete", "deployment", "web", inside)
    until(lambda: kubernetes_server.kubectl("get", "replicasets,pods", "-o", "name", inside) == "")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "not so after a minute"
        time.sleep(0.05)


def test_the_audit_log_tells_who_wrote_what_and_that_nobody_did(
    kubernetes_server: kubernetes.Kubernetes, kubernetes_namespace: str
) -> None:
    """Catches a log that lacks writes or says nothing of who made them: "no writes when converged" could not fail."""
    inside = f"--namespace={kubernetes_namespace}"
    before = kubernetes_server.mark()
    kubernetes_server.kubectl("create", "configmap", "mine", inside)
    between = kubernetes_server.mark()
    kubernetes_server.kubectl("get", "configmap", "mine", inside)

    written = [request for request in kubernetes_server.requests(before) if request.writes and request.name == "mine"]
    expected = kubernetes.Request(
        user="admin", verb="create", resource="configmaps", namespace=kubernetes_namespace, name="mine", code=201
    )
    assert written == [expected]
    since = [request for request in kubernetes_server.requests(between) if request.name == "mine"]
    assert [(request.verb, request.writes) for request in since] == [("get", False)]


def test_the_api_server_can_be_away_and_come_back(kubernetes_server: kubernetes.Kubernetes, kubernetes_namespace: str) -> None:
    """Catches a server that forgets, or comes back elsewhere: no test could take it away from the operator."""
    inside = f"--namespace={kubernetes_namespace}"
    kubernetes_server.kubectl("create", "configmap", "kept", inside)
    kubernetes_server.api.kill()
    try:
        with pytest.raises(OSError, match="refused"):
            kubernetes_server.get("/readyz")
    finally:
        kubernetes_server.api.start()
    assert "kept" in kubernetes_server.kubectl("get", "configmaps", inside)
