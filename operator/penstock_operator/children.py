"""All children of one revision, in the order in which a change reaches them: sinks, then batchers, then the doors.

A sink of the new revision understands batchers of the old one, and a batcher what doors of the old one wrote; the other way
round it need not be so.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from penstock_operator import revision, settings, snapshot
from penstock_operator.resources import config, deployments, guards, services

STAGES: Final = ("sink", "batcher", "ingest")
MANAGED: Final = (
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("monitoring.coreos.com/v1", guards.POD_MONITOR),
)
"""What a snapshot lists, and what is deleted when nobody wants it any more. Secrets are created and never looked at."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """`support` goes first and waits for nothing; `workloads` are the Deployments, in the order of STAGES."""

    support: tuple[dict[str, Any], ...]
    workloads: tuple[dict[str, Any], ...]

    @property
    def keys(self) -> set[tuple[str, str]]:
        """Kind and name of each."""
        return {(one["kind"], one["metadata"]["name"]) for one in (*self.support, *self.workloads)}


def wanted(running: revision.Revision, live: snapshot.Snapshot, told: settings.Settings) -> Children:
    """Everything that should be there while `running` runs."""
    sinks = [one.name for one in running.pipeline.spec.sinks]
    doors = [""] if running.has_doors else []
    parts = [(role, sink) for role in STAGES for sink in (doors if role == "ingest" else sinks)]
    files = {running.file_name(*part): config.file(running, *part) for part in parts}
    support = [config.accepted(running), *files.values()]
    support += [services.door(running), services.door_pods(running)] if running.has_doors else []
    support += [services.sink(running, sink) for sink in sinks]
    for role, sink in parts:
        support += [guards.disruption_budget(running, role, sink), guards.network_policy(running, told, role, sink)]
    if guards.POD_MONITOR in live.kinds:
        support.append(guards.pod_monitor(running))
    return Children(support=tuple(support), workloads=tuple(_workload(running, live, told, *part) for part in parts))


def _workload(
    running: revision.Revision, live: snapshot.Snapshot, told: settings.Settings, role: str, sink: str
) -> dict[str, Any]:
    there = live.child("Deployment", deployments.name(running, role, sink))
    batchers = live.child("Deployment", deployments.name(running, "batcher", sink)) if role == "sink" else None
    replicas = deployments.wanted_replicas(running, role, sink, there, batchers)
    return deployments.deployment(running, told, role=role, sink=sink, replicas=replicas, live=there)
