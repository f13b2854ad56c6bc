"""`plan`: what to do next. Level-triggered: the same snapshot gives the same plan, and a converged one gives none.

A change reaches sinks first, then batchers, then doors, each when no older pod is left of what it depends on. Only what
replaces running pods waits like that; what is missing is made at once, and what somebody else changed is put right at once.
Pods go in the other direction: doors before batchers before sinks, so that what was taken can still land.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from penstock_operator import actions, children, revision, settings, snapshot
from penstock_operator.planning import acceptance, difference, rollout, steering
from penstock_operator.resources import config, identity, pods

_API_VERSION: Final = {kind: api_version for api_version, kind in children.MANAGED}
_FEEDS: Final[Mapping[str, str | None]] = {"ingest": None, "batcher": "ingest", "sink": "batcher"}
"""Who must be gone before the pods of a role are."""


def plan(live: snapshot.Snapshot, told: settings.Settings) -> list[actions.Action]:
    """What to do, in this order."""
    running = acceptance.decide(live, told).running
    if running is None or live.pipeline["metadata"].get("deletionTimestamp"):
        return []
    wanted = children.wanted(running, live, told)
    return [
        *_token(running, live),
        *_applied(live, wanted.support),
        *_rolled(live, wanted.workloads),
        *_told_doors(running, live),
        *_told(running, live),
        *steering.followed(running, live),
        *steering.spread(live),
        *_deleted(live, wanted),
    ]


def _token(running: revision.Revision, live: snapshot.Snapshot) -> Iterator[actions.CreateToken]:
    """Before it is noted that there is one, and again while a pod waits for what it mounts: somebody may have deleted it."""
    record = live.child("ConfigMap", config.accepted(running)["metadata"]["name"])
    noted = record is not None and config.TOKEN_MADE in record["metadata"].get("annotations", {})
    if not noted or any(_waits_for_mounts(pod) for pod in live.pods):
        yield actions.CreateToken(manifest=config.token(running), key=pods.TOKEN_KEY)


def _waits_for_mounts(pod: snapshot.Manifest) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses", ())
    return any(one.get("state", {}).get("waiting", {}).get("reason") == "ContainerCreating" for one in statuses)


def _applied(live: snapshot.Snapshot, wanted: tuple[dict[str, Any], ...]) -> Iterator[actions.Apply]:
    for manifest in wanted:
        there = live.child(manifest["kind"], manifest["metadata"]["name"])
        if there is None or not difference.says(there, manifest):
            yield actions.Apply(manifest=manifest, ours=there is not None)


def _rolled(live: snapshot.Snapshot, wanted: tuple[dict[str, Any], ...]) -> Iterator[actions.Apply]:
    """A batcher waits for its own sink, the doors for all batchers; and only what would replace their pods waits."""
    lagging: set[tuple[str, str]] = set()
    for manifest in wanted:
        there = live.child("Deployment", manifest["metadata"]["name"])
        if there is None:
            yield actions.Apply(manifest=manifest, ours=False)
            continue
        is_new = rollout.digest(there) != rollout.digest(manifest)
        if is_new or rollout.has_old_pods(there):
            lagging.add((_role(manifest), _sink(manifest)))
        waits = not _may_end(live, manifest) if _ends(manifest) else is_new and _is_held(manifest, lagging)
        if not waits and not difference.says(there, manifest):
            yield actions.Apply(manifest=manifest, ours=True)


def _is_held(manifest: dict[str, Any], lagging: set[tuple[str, str]]) -> bool:
    if _role(manifest) == "batcher":
        return ("sink", _sink(manifest)) in lagging
    return _role(manifest) == "ingest" and any(role == "batcher" for role, _ in lagging)


def _role(manifest: snapshot.Manifest) -> str:
    return str(manifest["metadata"]["labels"][identity.ROLE_LABEL])


def _sink(manifest: snapshot.Manifest) -> str:
    return str(manifest["metadata"]["labels"].get(identity.SINK_LABEL, ""))


def _ends(manifest: dict[str, Any]) -> bool:
    replicas: int | None = manifest["spec"].get("replicas")
    return replicas == 0


def _may_end(live: snapshot.Snapshot, manifest: dict[str, Any]) -> bool:
    """Whether nobody is left who hands work to these pods."""
    feeder = _FEEDS[_role(manifest)]
    fed_by = [one for one in live.children if one["kind"] == "Deployment" and feeder and _role(one) == feeder]
    return all(rollout.is_empty(one) for one in fed_by)


def _told_doors(running: revision.Revision, live: snapshot.Snapshot) -> Iterator[actions.Tell]:
    """Those that run refuse from now on, and stay: who sends is told why, which nobody could do once they were gone."""
    if running.lifecycle != "Draining":
        return
    for report in live.reports:
        if report.role == "ingest" and report.address and report.lifecycle == "Running":
            yield actions.Tell(pod=report.pod, address=report.address, sink="", lifecycle="Draining")


def _told(running: revision.Revision, live: snapshot.Snapshot) -> Iterator[actions.Tell]:
    """A pause or its end reaches running lanes now; the file says the same to those that start."""
    for report in live.reports:
        for lane in report.lanes:
            sinks = [one for one in running.pipeline.spec.sinks if one.name == lane.sink]
            if not sinks or not report.address:
                continue
            asked = "Paused" if "Paused" in (running.lifecycle, sinks[0].lifecycle) else "Running"
            if (lane.state, asked) in (("Running", "Paused"), ("Paused", "Running")):
                yield actions.Tell(pod=report.pod, address=report.address, sink=lane.sink, lifecycle=asked)


def _deleted(live: snapshot.Snapshot, wanted: children.Children) -> Iterator[actions.Delete]:
    mounted = {name for one in live.children if one["kind"] == "Deployment" for name in _files(one)}
    rolling = any(not rollout.is_done(one) for one in live.children if one["kind"] == "Deployment")
    for there in live.children:
        kind, name = there["kind"], there["metadata"]["name"]
        if kind not in _API_VERSION or (kind, name) in wanted.keys or there["metadata"].get("deletionTimestamp"):
            continue
        # Pods of the old revision that start anew still read its file, and none but a Deployment's own list says whose.
        if kind == "ConfigMap" and (rolling or name in mounted):
            continue
        if _role(there) == "sink" and not _batcher_is_gone(live, there):
            continue
        yield actions.Delete(api_version=_API_VERSION[kind], kind=kind, name=name, uid=str(there["metadata"].get("uid", "")))


def _files(deployment: snapshot.Manifest) -> Iterator[str]:
    for volume in deployment["spec"]["template"]["spec"].get("volumes", ()):
        if "configMap" in volume:
            yield str(volume["configMap"]["name"])


def _batcher_is_gone(live: snapshot.Snapshot, sink: snapshot.Manifest) -> bool:
    labels = sink["metadata"]["labels"]
    mine = {**{key: labels.get(key) for key in (identity.PIPELINE_LABEL, identity.SINK_LABEL)}, identity.ROLE_LABEL: "batcher"}
    return not any(one["kind"] == "Deployment" and mine.items() <= one["metadata"]["labels"].items() for one in live.children)
