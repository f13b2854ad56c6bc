"""All that is known, at one moment, of one pipeline's replays: they share its lanes, so they are planned together."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Final

from penstock.core import runs
from penstock_operator import names, snapshot
from penstock_operator.resources import identity

KIND: Final = "DeadLetterReplay"
JOB: Final = ("batch/v1", "Job")
ROLE: Final = "replay"
REPLAY_LABEL: Final = "penstock.dev/replay"
CHILDREN: Final = (JOB, ("v1", "ConfigMap"), ("networking.k8s.io/v1", "NetworkPolicy"))
"""What is made for a replay."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a pod that runs says of itself, and where it was asked."""

    pod: str
    address: str
    report: runs.Report


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """`pipeline` None: there is none of this name. `accepted` is the record of what it runs. `children` and `pods` are those of
    replays alone. `now` has a time zone."""

    namespace: str
    name: str
    pipeline: snapshot.Manifest | None
    accepted: snapshot.Manifest | None
    replays: tuple[snapshot.Manifest, ...]
    children: tuple[snapshot.Manifest, ...] = ()
    pods: tuple[snapshot.Manifest, ...] = ()
    said: tuple[Said, ...] = ()
    now: datetime.datetime

    def child(self, replay: snapshot.Manifest, kind: str, name: str) -> snapshot.Manifest | None:
        """One that belongs to this very object, and not to one of the same name before it."""
        uid = replay["metadata"]["uid"]
        for one in self.children:
            owners = {owner["uid"] for owner in one["metadata"].get("ownerReferences", ())}
            if one["kind"] == kind and one["metadata"]["name"] == name and uid in owners:
                return one
        return None

    def job(self, replay: snapshot.Manifest) -> snapshot.Manifest | None:
        """The Job that does what the object says now."""
        return self.child(replay, JOB[1], job_name(replay))

    def pods_of(self, job: snapshot.Manifest) -> list[snapshot.Manifest]:
        """The pods of a Job, the newest last."""
        uid = job["metadata"]["uid"]
        mine = [one for one in self.pods if uid in {owner["uid"] for owner in one["metadata"].get("ownerReferences", ())}]
        return sorted(mine, key=lambda one: (str(one["metadata"].get("creationTimestamp", "")), one["metadata"]["name"]))

    def said_by(self, job: snapshot.Manifest) -> Said | None:
        """What its pod says now; of several, which is rare, the newest."""
        known = {one.pod: one for one in self.said}
        found = [known[name] for one in self.pods_of(job) if (name := one["metadata"]["name"]) in known]
        return found[-1] if found else None


def job_name(replay: snapshot.Manifest) -> str:
    """A dry run and the replay after it are two Jobs."""
    return names.replay(replay["metadata"]["name"], replay["spec"].get("action", "DryRun").lower())


def labels(replay: snapshot.Manifest) -> dict[str, str]:
    """Of all that is made for it."""
    pipeline = str(replay["spec"]["pipelineRef"]["name"])
    return {**identity.labels(pipeline, ROLE), REPLAY_LABEL: names.label(replay["metadata"]["name"])}


def is_over(job: snapshot.Manifest) -> str:
    """Complete or Failed; empty while it is neither."""
    for one in job.get("status", {}).get("conditions", ()):
        if one["type"] in ("Complete", "Failed") and one["status"] == "True":
            return str(one["type"])
    return ""


def is_held(job: snapshot.Manifest) -> bool:
    return bool(job["spec"].get("suspend"))


def conditions(replay: snapshot.Manifest) -> Mapping[str, snapshot.Manifest]:
    """What the status says, by type."""
    return {one["type"]: one for one in (replay.get("status") or {}).get("conditions", ())}
