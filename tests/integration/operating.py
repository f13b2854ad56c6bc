"""The operator as a process with the rights of its Role and no others, over a real API server; and a stand-in for kubelets."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from tests.servers import kubernetes, process
from tests.unit.operator import cluster as examples

from penstock.cli import background
from penstock_operator import permissions
from penstock_operator.edge import api
from penstock_operator.edge import lease as edge_lease

PATIENCE_SECONDS = 120.0
ACCOUNT = "penstock-operator"
HOME = "penstock-system"
USER = f"system:serviceaccount:{HOME}:{ACCOUNT}"
_ROOT = pathlib.Path(__file__).parents[2]
DEFINITIONS = _ROOT / "charts" / "penstock" / "files" / "crds"


def until(condition: Callable[[], Any], what: str = "") -> Any:
    """Its first true answer, within a minute."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if found := condition():
                return found
        except (urllib.error.HTTPError, OSError) as error:
            what = f"{what} ({error})"
        assert time.monotonic() < deadline, f"not so after a minute: {what}"
        time.sleep(0.05)


def grant(server: kubernetes.Kubernetes) -> None:
    """The account, with what `permissions` lists."""
    metadata = {"name": ACCOUNT}
    binding = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": HOME}
    made = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**metadata, "namespace": HOME}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": metadata,
            "rules": [one.manifest() for one in permissions.IN_WATCHED_NAMESPACES],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ACCOUNT},
            "subjects": [binding],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {**metadata, "namespace": HOME},
            "rules": [one.manifest() for one in permissions.IN_OWN_NAMESPACE],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {**metadata, "namespace": HOME},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT},
            "subjects": [binding],
        },
    ]
    server.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))


def lease(connection: api.Api, holder: str) -> edge_lease.Lease:
    """One contender for a Lease in the operator's namespace."""
    return edge_lease.Lease(
        connection, namespace=HOME, name="operator", holder=holder, monotonic=time.monotonic, lost=lambda: None
    )


class Operator:
    """One operator for all namespaces."""

    def __init__(self, server: kubernetes.Kubernetes, directory: pathlib.Path) -> None:
        self.metrics = f"127.0.0.1:{background.free_port()}"
        key = directory / "key"
        key.write_text("a key of at least thirty-two characters\n")
        environment = {
            **os.environ,
            "KUBECONFIG": str(server.as_service_account(HOME, ACCOUNT)),
            "PENSTOCK_IMAGE": "registry.example/penstock@sha256:1",
            "PENSTOCK_KEY_FILE": str(key),
            "PENSTOCK_METRICS": self.metrics,
            "PENSTOCK_RESYNC_SECONDS": "3600",
            "PYTHONPATH": os.pathsep.join(str(_ROOT / name) for name in ("services", "operator")),
        }
        command = [sys.executable, "-m", "penstock_operator"]
        self.process = process.Process(command, directory / "operator.log", self.listens, environment=environment)

    def listens(self) -> bool:
        return process.accepts(int(self.metrics.rpartition(":")[2]))

    def why_not_ready(self) -> str:
        try:
            with urllib.request.urlopen(f"http://{self.metrics}/readyz", timeout=5) as answer:
                return "" if answer.status == 200 else "?"
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One namespace, the operator, and the questions a test asks."""

    server: kubernetes.Kubernetes
    operator: Operator
    namespace: str

    def apply(self, name: str = "clicks", **spec: Any) -> None:
        """A pipeline; over Kafka into ClickHouse unless `spec` says otherwise."""
        made = examples.pipeline(**spec)
        made["metadata"] = {"name": name, "namespace": self.namespace}
        self.patch(self.place("BatchPipeline", name), made)

    def patch(self, place: str, made: dict[str, Any], content: str = api.APPLY) -> None:
        query = "?fieldManager=test&force=true" if content == api.APPLY else ""
        self.request("PATCH", place + query, made, content)

    def request(self, method: str, place: str, body: Any = None, content: str = "application/json") -> dict[str, Any]:
        asked = urllib.request.Request(
            self.server.url + place,
            method=method,
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": content},
        )
        with self.server.open(asked) as answer:
            said: dict[str, Any] = json.loads(answer.read())
        return said

    def place(self, kind: str, name: str = "") -> str:
        versions = {
            "BatchPipeline": "penstock.dev/v1alpha1",
            "Deployment": "apps/v1",
            "PodDisruptionBudget": "policy/v1",
            "NetworkPolicy": "networking.k8s.io/v1",
            "Event": "events.k8s.io/v1",
            "PodMonitor": "monitoring.coreos.com/v1",
            "DeadLetterReplay": "penstock.dev/v1alpha1",
            "Job": "batch/v1",
        }
        return api.place(versions.get(kind, "v1"), kind, self.namespace, name)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self.request("GET", self.place(kind, name))

    def items(self, kind: str) -> dict[str, dict[str, Any]]:
        return {one["metadata"]["name"]: one for one in self.request("GET", self.place(kind))["items"]}

    def children(self) -> set[tuple[str, str]]:
        kinds = ("Deployment", "Service", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy", "Secret")
        return {(kind, name) for kind in kinds for name in self.items(kind) if name != "kube-root-ca.crt"}

    def condition(self, type_: str, name: str = "clicks") -> dict[str, Any]:
        told = self.get("BatchPipeline", name).get("status", {}).get("conditions", ())
        return next((dict(one) for one in told if one["type"] == type_), {})

    def is_(self, type_: str, status: str, reason: str = "", name: str = "clicks") -> bool:
        """Whether a condition is so, of the object as it is now."""
        live = self.get("BatchPipeline", name)
        told = self.condition(type_, name)
        fresh = live.get("status", {}).get("observedGeneration") == live["metadata"]["generation"]
        return fresh and told.get("status") == status and reason in ("", told.get("reason"))

    def make_ready(self) -> None:
        """What kubelets would do: pods run and are ready."""
        for name, pod in self.items("Pod").items():
            if pod.get("status", {}).get("phase") != "Running" and not pod["metadata"].get("deletionTimestamp"):
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
                made = {"status": {"phase": "Running", "conditions": [ready]}}
                try:
                    self.patch(f"{self.place('Pod', name)}/status", made, "application/strategic-merge-patch+json")
                except urllib.error.HTTPError as error:
                    error.close()  # it went meanwhile

    def writes(self, since: int) -> list[kubernetes.Request]:
        """What the operator wrote in this namespace."""
        return [one for one in self.server.requests(since) if one.user == USER and one.writes and one.namespace == self.namespace]

    def quiet(self) -> None:
        """Return when two seconds have gone by in which the operator wrote nothing here."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        mark = self.server.mark()
        while time.monotonic() < deadline:
            time.sleep(2.0)
            if not self.writes(mark):
                return
            mark = self.server.mark()
        raise AssertionError(f"it goes on writing: {self.writes(mark)}")


def rolled(world: World, find: Callable[[dict[str, Any]], Any], wanted: Any) -> Iterator[str]:
    """The Deployments in the order in which they came to say what is wanted, with pods made ready as they come."""
    pending = set(world.items("Deployment"))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while pending:
        assert time.monotonic() < deadline, f"still as before: {pending}"
        now = {name for name, one in world.items("Deployment").items() if name in pending and find(one) == wanted}
        yield from sorted(now)
        pending -= now
        world.make_ready()
        time.sleep(0.05)
