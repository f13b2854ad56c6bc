"""The chart rendered, and questions to what came out."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import yaml
from tests.servers import helm

CHART = pathlib.Path(__file__).parents[2] / "charts" / "penstock"
RELEASE = "penstock"
NAMESPACE = "penstock-system"
OPERATOR = "penstock-operator"

EVERYTHING: dict[str, Any] = {
    "replicas": 2,
    "image": {"repository": "registry.example/penstock", "tag": "1.2", "digest": f"sha256:{'a' * 64}"},
    "dataPlaneImage": {"tag": "1.1"},
    "imagePullSecrets": [{"name": "registry"}, {"name": "mirror"}],
    "log": {
        "retention": {"hours": 24, "maxBytes": 107_374_182_400},
        "kafka": {
            "bootstrapServers": ["kafka-0.kafka:9093", "kafka-1.kafka:9093"],
            "partitions": 12,
            "authentication": {
                "type": "ScramSha512",
                "username": "penstock",
                "passwordSecretRef": {"name": "kafka", "key": "password"},
            },
            "tls": {"caSecretRef": {"name": "kafka-ca", "key": "ca.crt"}},
        },
    },
    "resyncSeconds": 60,
    "serviceAccount": {"annotations": {"identity.example/role": "operator"}},
    "priorityClassName": "system-cluster-critical",
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "spot", "operator": "Exists"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]
            }
        }
    },
    "commonLabels": {"team": "data", "app.kubernetes.io/name": "mine"},
    "commonAnnotations": {"owner": "data"},
    "podLabels": {"sidecar": "no", "app.kubernetes.io/component": "mine"},
    "podAnnotations": {"note": "x"},
    "service": {"annotations": {"scrape": "yes"}},
    "networkPolicy": {"enabled": True, "metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
    "test": {"pipeline": "clicks", "namespace": "web", "event": {"id": "a", "n": 1}},
}
"""Every optional part at once, but for the monitors, whose kinds a cluster need not know."""

Manifest = dict[str, Any]


def rendered(program: helm.Helm, **values: Any) -> list[Manifest]:
    """Every object but the definitions."""
    told = yaml.safe_dump({"crds": {"install": False}, **values})
    return [one for one in yaml.safe_load_all(program.template(CHART, RELEASE, NAMESPACE, told)) if one]


def one(found: list[Manifest], kind: str, name: str = OPERATOR) -> Manifest:
    """The object of this kind and name."""
    [there] = [one for one in found if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return there


def of_kind(found: list[Manifest], *kinds: str) -> list[Manifest]:
    """All of these kinds."""
    return [one for one in found if one["kind"] in kinds]


def pods(found: list[Manifest]) -> Iterator[Manifest]:
    """Each pod, and each template of one: metadata and spec."""
    for there in found:
        if there["kind"] == "Pod":
            yield there
        elif "template" in there.get("spec", {}):
            yield there["spec"]["template"]


def environment(found: list[Manifest]) -> dict[str, str]:
    """What the operator is told; what comes from its pod's own fields is called by the field."""
    [container] = one(found, "Deployment")["spec"]["template"]["spec"]["containers"]
    return {
        entry["name"]: entry["value"] if "value" in entry else entry["valueFrom"]["fieldRef"]["fieldPath"]
        for entry in container["env"]
    }


def granted(roles: list[Manifest]) -> set[tuple[str, str, str]]:
    """Group, resource, verb."""
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
