"""How far Deployments are, as their status tells."""

from __future__ import annotations

from penstock_operator import snapshot
from penstock_operator.resources import identity

Manifest = snapshot.Manifest


def digest(manifest: Manifest) -> str:
    """What was meant when it was last applied."""
    return str(manifest["metadata"].get("annotations", {}).get(identity.DIGEST, ""))


def replicas(live: Manifest) -> int:
    """Pods asked for; the cluster asks for one where nobody says."""
    return int(live["spec"].get("replicas", 1))


def is_done(live: Manifest) -> bool:
    """Whether all pods are of the present template and ready, and none of an older one is left."""
    told, wanted = live.get("status", {}), replicas(live)
    seen = int(told.get("observedGeneration", 0)) >= int(live["metadata"].get("generation", 0))
    counts = [int(told.get(name, 0)) for name in ("updatedReplicas", "availableReplicas", "replicas")]
    return seen and counts == [wanted, wanted, wanted]


def has_old_pods(live: Manifest) -> bool:
    """Whether pods of an older template are left, or may be. The last of them goes only when the new ones are ready."""
    told = live.get("status", {})
    if not told.get("observedGeneration"):
        return False
    if int(told["observedGeneration"]) < int(live["metadata"].get("generation", 0)):
        return True
    return int(told.get("updatedReplicas", 0)) < int(told.get("replicas", 0))


def is_empty(live: Manifest | None) -> bool:
    """Whether no pod of it is left."""
    if live is None:
        return True
    seen = int(live.get("status", {}).get("observedGeneration", 0)) >= int(live["metadata"].get("generation", 0))
    return seen and replicas(live) == 0 and not int(live.get("status", {}).get("replicas", 0))


def available(live: Manifest | None) -> int:
    """Pods that are ready."""
    return int(live.get("status", {}).get("availableReplicas", 0)) if live else 0


def failure(live: Manifest) -> tuple[str, str] | None:
    """Why the cluster makes no pods, or gave up waiting for them: its reason and its message."""
    for told in live.get("status", {}).get("conditions", ()):
        if told["type"] == "ReplicaFailure" and told["status"] == "True":
            return str(told.get("reason", "")), str(told.get("message", ""))
    for told in live.get("status", {}).get("conditions", ()):
        if told["type"] == "Progressing" and told.get("reason") == "ProgressDeadlineExceeded":
            return "ProgressDeadlineExceeded", str(told.get("message", ""))
    return None
