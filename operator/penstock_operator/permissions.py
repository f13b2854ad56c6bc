"""What the operator asks of the cluster's API, and so what its Role has to grant: nothing more, and no `get` of anything but
the Lease it holds. A test runs the operator with exactly this and reads in the audit log what it used.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from penstock_operator import children
from penstock_operator.resources import guards

PLURALS: Final = {
    "BatchPipeline": "batchpipelines",
    "ConfigMap": "configmaps",
    "DeadLetterReplay": "deadletterreplays",
    "Deployment": "deployments",
    "Event": "events",
    "Job": "jobs",
    "Lease": "leases",
    "NetworkPolicy": "networkpolicies",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "PodMonitor": "podmonitors",
    "Secret": "secrets",
    "Service": "services",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of a Role. `why` is for whoever reads the Role."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str

    def manifest(self) -> dict[str, Any]:
        """As it stands in a Role's `rules`."""
        return {"apiGroups": [self.group], "resources": [self.resource], "verbs": list(self.verbs)}


def group(api_version: str) -> str:
    """The group of an apiVersion; empty for the core."""
    return api_version.rpartition("/")[0]


_CHILDREN: Final = tuple(
    Rule(
        group=group(api_version),
        resource=PLURALS[kind],
        # Applying makes what is missing, which is a `create` as well as a `patch`. A PodMonitor goes with its owner only.
        verbs=("create", *(() if kind == guards.POD_MONITOR else ("delete",)), "list", "patch", "watch"),
        why="what a pipeline is made of",
    )
    for api_version, kind in children.MANAGED
)

IN_WATCHED_NAMESPACES: Final = (
    Rule(group="penstock.dev", resource="batchpipelines", verbs=("list", "watch"), why="what is asked for"),
    Rule(group="penstock.dev", resource="batchpipelines/status", verbs=("patch",), why="how it is"),
    Rule(
        group="penstock.dev",
        resource="deadletterreplays",
        verbs=("delete", "list", "watch"),
        why="what is to be put back; one goes when its ttlSecondsAfterFinished has passed",
    ),
    Rule(group="penstock.dev", resource="deadletterreplays/status", verbs=("patch",), why="how far it is"),
    Rule(group="batch", resource="jobs", verbs=("create", "delete", "list", "patch", "watch"), why="what puts it back"),
    *_CHILDREN,
    Rule(group="", resource="pods", verbs=("list", "watch"), why="where they are, and why they don't start"),
    Rule(group="", resource="secrets", verbs=("create",), why="the token of a pipeline; never read"),
    Rule(group="events.k8s.io", resource="events", verbs=("create", "patch"), why="what has happened"),
)
"""A Role in each namespace that is looked after, or a ClusterRole where all are."""

IN_OWN_NAMESPACE: Final = (
    Rule(group="coordination.k8s.io", resource="leases", verbs=("create", "get", "update"), why="who of several operators works"),
)
"""A Role in the operator's own namespace, needed with more than one replica."""
