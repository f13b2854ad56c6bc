"""The objects a scenario makes, as a user would write them. Pure."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from e2e.cluster import image

Object = dict[str, Any]
NAME = "orders"
SINK = "warehouse"
PARTITIONS = 3
WAY_IN = "way-in"
STRICT = {"pod-security.kubernetes.io/enforce": "restricted"}
OURS = {"penstock.dev/e2e": "scenario"}
"""The label of scenarios' namespaces: what a run that was ended has left is taken away by the next."""

_SPEC: Object = {
    "source": {"type": "Ingest", "ingest": {"partitionBy": ["customer"]}},
    "schema": {
        "fields": [
            {"name": "id", "type": "String", "required": True},
            {"name": "customer", "type": "Int64", "required": True},
            {"name": "number", "type": "Int64", "required": True},
            {"name": "value", "type": "Int64", "required": True},
            {"name": "note", "type": "String"},
            {"name": "items", "type": "List", "element": {"type": "Int64"}},
        ]
    },
    "deduplicate": {"key": ["customer", "id"], "windowSeconds": 14400},
    "transform": {
        "explode": {"field": "items", "as": "item", "indexAs": "item_no"},
        "filter": {"expression": "note is null or note <> 'drop'"},
        "select": [
            *({"name": name} for name in ("id", "customer", "number", "value", "item_no", "item")),
            {"name": "doubled", "value": "cast(note as bigint) * 2"},
        ],
    },
}


def pipeline(namespace: str, brokers: Sequence[str], sink: Object) -> Object:
    """The pipeline of a scenario; its events are those of `e2e.chaos.kafka.stream`."""
    kafka = {"bootstrapServers": list(brokers), "partitions": PARTITIONS, "replicationFactor": 1}
    spec = {"log": {"type": "Kafka", "kafka": kafka}, **copy.deepcopy(_SPEC), "sinks": [sink]}
    metadata = {"name": NAME, "namespace": namespace}
    return {"apiVersion": "penstock.dev/v1alpha1", "kind": "BatchPipeline", "metadata": metadata, "spec": spec}


def transformed(made: Object, expression: str) -> Object:
    """The same with another expression for the column `doubled`, which the checker does not look at."""
    changed = copy.deepcopy(made)
    changed["spec"]["transform"]["select"][-1]["value"] = expression
    return changed


def namespace(name: str, labels: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def secret(namespace: str, name: str, values: dict[str, str]) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}


def way_in(namespace: str, labels: dict[str, str], ports: dict[str, int]) -> Object:
    """A second Service over the same doors, at ports of the node: this machine's clients are no pods."""
    spec = {
        "type": "NodePort",
        "selector": labels,
        "ports": [{"name": name, "port": port, "targetPort": port, "protocol": "TCP"} for name, port in ports.items()],
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": WAY_IN, "namespace": namespace}, "spec": spec}


def once(namespace: str, name: str, script: str, arguments: Sequence[str]) -> Object:
    """A pod that runs a Python script in our image, within the restricted standard."""
    container = {
        **_container([script, *arguments]),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return _pod(namespace, name, container)


def axe(namespace: str, name: str) -> Object:
    """A pod that sees the processes of its node, and waits."""
    container = {
        **_container(["import time; time.sleep(86400)"]),
        "securityContext": {"privileged": True, "runAsUser": 0, "runAsNonRoot": False},
    }
    made = _pod(namespace, name, container)
    made["spec"]["hostPID"] = True
    return made


def _container(words: Sequence[str]) -> Object:
    return {"name": "main", "image": image.NAME, "imagePullPolicy": "Never", "command": ["python3", "-c", *words]}


def _pod(namespace: str, name: str, container: Object) -> Object:
    spec = {
        "containers": [container],
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}
