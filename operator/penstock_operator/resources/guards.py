"""What keeps others from harming the pods, and finds them: disruption budgets, network policies, a PodMonitor."""

from __future__ import annotations

from typing import Any, Final

from penstock_operator import names, revision, settings
from penstock_operator.resources import deployments, identity, pods

POD_MONITOR: Final = "PodMonitor"
_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"


def disruption_budget(running: revision.Revision, role: str, sink: str = "") -> dict[str, Any]:
    """One pod of a role at a time may be evicted; one that is not ready anyway may always be."""
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": identity.selector(running.name, role, sink)},
    }
    name = deployments.name(running, role, sink)
    return identity.manifest(running, "policy/v1", "PodDisruptionBudget", name, role=role, sink=sink, spec=spec)


def network_policy(running: revision.Revision, told: settings.Settings, role: str, sink: str = "") -> dict[str, Any]:
    """Who may call a pod: its metrics everybody, its control the operator, a door everybody, a sink its own batchers.

    Where pods may call is not limited: stores and brokers are anywhere.
    """
    operator = {"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: told.operator_namespace}}}
    batchers = {"podSelector": {"matchLabels": identity.selector(running.name, "batcher", sink)}}
    rules: list[dict[str, Any]] = [{"ports": _ports("metrics")}, {"ports": _ports("control"), "from": [operator]}]
    if role == "ingest":
        rules.append({"ports": _ports("http", "grpc")})
    if role == "sink":
        rules.append({"ports": _ports("sink"), "from": [batchers]})
    spec = {
        "podSelector": {"matchLabels": identity.selector(running.name, role, sink)},
        "policyTypes": ["Ingress"],
        "ingress": rules,
    }
    name = deployments.name(running, role, sink)
    return identity.manifest(running, "networking.k8s.io/v1", "NetworkPolicy", name, role=role, sink=sink, spec=spec)


def pod_monitor(running: revision.Revision) -> dict[str, Any]:
    """One for the whole pipeline, for clusters with the Prometheus operator."""
    spec = {
        "selector": {"matchLabels": {identity.PIPELINE_LABEL: names.label(running.name)}},
        "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics", "interval": "15s"}],
    }
    name = names.metrics(running.name)
    return identity.manifest(running, "monitoring.coreos.com/v1", POD_MONITOR, name, role="metrics", spec=spec)


def _ports(*wanted: str) -> list[dict[str, Any]]:
    known = {name: port for ports in pods.PORTS.values() for name, port in ports.items()}
    return [{"port": known[name], "protocol": "TCP"} for name in wanted]
