"""Deployments: the doors, a batcher for each lane, a server for each sink."""

from __future__ import annotations

from typing import Any

from penstock_operator import names, revision, settings, snapshot
from penstock_operator.resources import identity, pods


def name(running: revision.Revision, role: str, sink: str) -> str:
    """The promised name of a Deployment."""
    by_role = {"batcher": names.batcher, "sink": names.sink}
    return by_role[role](running.name, sink) if role in by_role else names.ingest(running.name)


def deployment(
    running: revision.Revision,
    told: settings.Settings,
    *,
    role: str,
    sink: str = "",
    replicas: int | None,
    live: snapshot.Manifest | None = None,
) -> dict[str, Any]:
    """`replicas` None: somebody else says how many."""
    image = _image(running, told, role, live)
    spec: dict[str, Any] = {
        "selector": {"matchLabels": identity.selector(running.name, role, sink)},
        # A pod goes only when another is ready in its place.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "minReadySeconds": 2,
        "progressDeadlineSeconds": 300,
        "revisionHistoryLimit": 3,
        "template": pods.template(running, told, role=role, sink=sink, image=image),
    }
    made = identity.manifest(running, "apps/v1", "Deployment", name(running, role, sink), role=role, sink=sink, spec=spec)
    # Beside the digest: neither the edit's number nor how many there are is a revision that waits for others.
    metadata = made["metadata"]
    annotations = {**metadata["annotations"], identity.GENERATION: str(running.generation)}
    made = {**made, "metadata": {**metadata, "annotations": annotations}}
    return made if replicas is None else {**made, "spec": {"replicas": replicas, **spec}}


def _image(running: revision.Revision, told: settings.Settings, role: str, live: snapshot.Manifest | None) -> str:
    """With updates OnEdit, the image a Deployment has, until the object is edited."""
    held = running.pipeline.spec.updates.mode == "OnEdit" and live is not None
    if held and live and live["metadata"].get("annotations", {}).get(identity.GENERATION) == str(running.generation):
        return str(live["spec"]["template"]["spec"]["containers"][0]["image"])
    return told.images[role]


def wanted_replicas(
    running: revision.Revision, role: str, sink: str, live: snapshot.Manifest | None, batchers: snapshot.Manifest | None = None
) -> int | None:
    """How many pods there should be; None where something else decides, which then owns the field. There are as many servers
    of a sink as it has batchers, whoever chose their number; `batchers` is their Deployment."""
    if running.lifecycle == "Stopped":
        return 0
    if role == "ingest":
        told = running.pipeline.spec.source.ingest
        mode, least = (told.replicas.mode, told.replicas.min) if told else ("Auto", 2)
    else:
        mode, least = running.sink(sink).replicas.mode, max(1, running.sink(sink).replicas.min)
    if role == "sink" and mode == "External" and batchers:
        return int(batchers["spec"].get("replicas", least)) or least
    if mode == "Auto" or role == "sink":
        return least
    return _external(live, least)


def _external(live: snapshot.Manifest | None, least: int) -> int | None:
    """Leaving the field out gives it to whoever else holds it. As long as nobody does, it would fall back to one pod."""
    if live is None:
        return least
    if any(_holds_replicas(one) for one in live["metadata"].get("managedFields", ()) if one.get("manager") != "penstock"):
        return None
    return int(live["spec"].get("replicas", least)) or least


def _holds_replicas(entry: snapshot.Manifest) -> bool:
    return "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
