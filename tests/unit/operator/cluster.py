"""A model of a cluster: what its API and its Deployment controller do with what is applied, one step at a time."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

from penstock_operator import actions, children, settings, snapshot
from penstock_operator.resources import identity

CLICKHOUSE: dict[str, Any] = {
    "name": "warehouse",
    "type": "ClickHouse",
    "clickHouse": {
        "url": "https://clickhouse:8443",
        "database": "web",
        "table": "clicks",
        "authentication": {"type": "Basic", "secretRef": {"name": "ch"}},
    },
}
KAFKA_LOG: dict[str, Any] = {"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9093"], "partitions": 6}}
SETTINGS = settings.Settings(images={role: f"registry.example/penstock-{role}@sha256:1" for role in settings.ROLES})


def sink(name: str = "warehouse", **changes: Any) -> dict[str, Any]:
    """A ClickHouse sink."""
    return {**copy.deepcopy(CLICKHOUSE), "name": name, **changes}


def pipeline(name: str = "clicks", generation: int = 1, **spec: Any) -> dict[str, Any]:
    """A BatchPipeline as the API tells it; over Kafka, into ClickHouse, unless `spec` says otherwise."""
    return {
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "BatchPipeline",
        "metadata": {"name": name, "namespace": "web", "uid": f"uid-{name}", "generation": generation},
        "spec": {"log": copy.deepcopy(KAFKA_LOG), "sinks": [sink()], **spec},
    }


@dataclasses.dataclass(slots=True)
class Pod:
    """One pod of a Deployment."""

    template: str
    ready: bool = False


class Cluster:
    """Holds one pipeline and what was made of it. `plan` is asked with `snapshot()`; its actions go to `take`."""

    def __init__(self, described: dict[str, Any], kinds: frozenset[str] = frozenset()) -> None:
        self.pipeline = described
        self.kinds = kinds
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.pods: dict[str, list[Pod]] = {}
        self.tokens = 0
        self.writes = 0
        self.stuck: set[str] = set()
        """Deployments whose new pods never get ready."""

    def snapshot(self, *reports: snapshot.PodReport, **more: Any) -> snapshot.Snapshot:
        """What an operator would see now."""
        return snapshot.Snapshot(
            pipeline=copy.deepcopy(self.pipeline),
            children=tuple(copy.deepcopy(one) for key, one in self.objects.items() if key[0] != "Secret"),
            reports=reports,
            kinds=self.kinds,
            **more,
        )

    def edit(self, **spec: Any) -> None:
        """Change the object's spec; None removes a field."""
        changed = {**self.pipeline["spec"], **spec}
        self.pipeline["spec"] = {key: value for key, value in changed.items() if value is not None}
        self.pipeline["metadata"]["generation"] += 1

    def take(self, action: actions.Action) -> None:
        """Do one action."""
        self.writes += 1
        match action:
            case actions.Apply(manifest=manifest):
                self._apply(manifest)
            case actions.CreateToken():
                self.tokens += 1
            case actions.Delete(kind=kind, name=name):
                del self.objects[kind, name]
                if kind == "Deployment":
                    self.pods.pop(name)

    def _apply(self, manifest: dict[str, Any]) -> None:
        key = manifest["kind"], manifest["metadata"]["name"]
        json.dumps(manifest)  # what can't be sent can't be applied
        before = self.objects.get(key)
        made = as_the_api_tells(manifest)
        made["metadata"]["uid"] = "/".join(key)
        if key[0] == "Deployment":
            made["spec"].setdefault("replicas", before["spec"]["replicas"] if before else 1)
        if before and before.get("immutable") and before.get("data") != made.get("data"):
            raise AssertionError(f"{key} can't change")
        changed = before is None or before.get("spec") != made.get("spec")
        made["metadata"]["generation"] = (before["metadata"]["generation"] if before else 0) + changed
        made["status"] = before["status"] if before else {}
        self.objects[key] = made
        if key[0] == "Deployment":
            self.pods.setdefault(key[1], [])

    def deployments(self) -> list[str]:
        """Their names."""
        return [name for kind, name in self.objects if kind == "Deployment"]

    def step(self, name: str) -> bool:
        """One step of the Deployment controller; whether anything changed."""
        live = self.objects["Deployment", name]
        before = copy.deepcopy(self.pods[name]), copy.deepcopy(live["status"])
        template = json.dumps(live["spec"]["template"], sort_keys=True)
        self._roll(name, template, live["spec"]["replicas"])
        ready = [pod for pod in self.pods[name] if pod.ready]
        live["status"] = {
            "observedGeneration": live["metadata"]["generation"],
            "replicas": len(self.pods[name]),
            "updatedReplicas": sum(pod.template == template for pod in self.pods[name]),
            "availableReplicas": len(ready),
        }
        return (self.pods[name], live["status"]) != before

    def _roll(self, name: str, template: str, wanted: int) -> None:
        """Never fewer ready pods than wanted, never more than one above it; a new pod is ready a step after it was made."""
        pods = self.pods[name]
        for pod in pods:
            if not pod.ready and name not in self.stuck:
                pod.ready = True
                return
        new = [pod for pod in pods if pod.template == template]
        old = [pod for pod in pods if pod.template != template]
        if len(new) > wanted or (old and len([pod for pod in pods if pod.ready]) > wanted) or (wanted == 0 and pods):
            pods.remove((old or new)[0])
        elif len(new) < wanted and len(pods) < wanted + 1:
            pods.append(Pod(template=template))

    def settle(self, name: str) -> None:
        """The controller until it is quiet."""
        for _ in range(200):
            if not self.step(name):
                return
        raise AssertionError(f"{name} does not come to rest")

    def settle_all(self) -> None:
        """All of them."""
        for name in self.deployments():
            self.settle(name)

    def ready(self, name: str) -> int:
        """Ready pods of a Deployment."""
        return sum(pod.ready for pod in self.pods.get(name, ()))

    def files_in_use(self) -> set[str]:
        """ConfigMaps that pods mount; each must be there whenever a pod starts anew."""
        templates = [json.loads(pod.template) for pods in self.pods.values() for pod in pods]
        volumes = [volume for template in templates for volume in template["spec"]["volumes"]]
        return {volume["configMap"]["name"] for volume in volumes if "configMap" in volume}


def as_the_api_tells(manifest: dict[str, Any]) -> dict[str, Any]:
    """With what an API server adds and rewrites: defaults, canonical quantities, no empty members."""
    made = copy.deepcopy(manifest)
    if made["kind"] == "Deployment":
        spec = made["spec"]["template"]["spec"]
        spec.update({"dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler", "restartPolicy": "Always"})
        for container in spec["containers"]:
            container.update({"imagePullPolicy": "IfNotPresent", "terminationMessagePath": "/dev/termination-log"})
            for amounts in container.get("resources", {}).values():
                amounts.update({name: _canonical(amount) for name, amount in amounts.items()})
        for volume in spec["volumes"]:
            if "configMap" in volume:
                volume["configMap"]["defaultMode"] = 420
    if made["kind"] == "Service":
        made["spec"].update({"sessionAffinity": "None", "ipFamilies": ["IPv4"]})
    return made


def _canonical(amount: str) -> str:
    return {"1000m": "1", "1024Mi": "1Gi"}.get(amount, amount)


def role(manifest: snapshot.Manifest) -> str:
    """Role of a child."""
    return str(manifest["metadata"]["labels"][identity.ROLE_LABEL])


def stage(manifest: snapshot.Manifest) -> int:
    """Its place in the order of a roll-out."""
    return children.STAGES.index(role(manifest))
