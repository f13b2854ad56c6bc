"""What a status is written from: everything that the conditions, the columns and the sentence look at, worked out once."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from penstock.api import lower
from penstock.core import errors
from penstock_operator import children, revision, settings, snapshot
from penstock_operator.planning import acceptance, rollout, steering
from penstock_operator.reporting import lanes, times
from penstock_operator.resources import identity

UNHEARD_SECONDS = 60.0
"""How long a batcher has to be ready before it is held against it that it says nothing."""
_IMAGE_TROUBLES = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CrashLoopBackOff")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why pods don't come up: the cluster's own word, and its message."""

    reason: str
    message: str
    needs_person: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """`refused_for` is the kind of `problems`. `takers_ready` are pods that take events in, of which `doors_refusing` have been
    told not to; `waits` is what pods say they wait for, `behind` what `steering.behind` says. `log_bytes_per_second` and
    `events_per_second` are since the status before; None where that can't be told."""

    running: revision.Revision | None
    problems: tuple[errors.Problem, ...]
    refused_for: str
    notices: tuple[str, ...]
    lanes: tuple[lanes.Lane, ...]
    takers_ready: int
    doors_refusing: int
    pods: Mapping[str, tuple[int, int]]
    is_rolling: bool
    troubles: tuple[Trouble, ...]
    waits: tuple[str, ...]
    behind: Mapping[str, tuple[int, int]]
    log_answers: bool | None
    log_trouble: snapshot.Trouble | None
    taker_trouble: snapshot.Trouble | None
    log_id: str
    log_bytes: int
    log_limit: int
    log_bytes_per_second: float | None
    events_per_second: float | None
    is_drained: bool
    before: Mapping[str, Any]
    observations: snapshot.Observations

    @property
    def now(self) -> datetime.datetime:
        return self.observations.now

    @property
    def lifecycle(self) -> str:
        return self.running.lifecycle if self.running else "Running"


def of(live: snapshot.Snapshot, told: settings.Settings, observations: snapshot.Observations) -> View:
    """The view of a snapshot; the status before is the object's own."""
    decided = acceptance.decide(live, told)
    running, before = decided.running, live.pipeline.get("status") or {}
    gathered = _lanes(running, live, observations.now)
    log_bytes = max((one.log_bytes for one in live.reports), default=0)
    there = [one for one in live.children if one["kind"] == "Deployment"]
    return View(
        running=running,
        problems=decided.problems,
        refused_for=decided.reason,
        notices=decided.notices,
        lanes=gathered,
        takers_ready=_takers_ready(running, there),
        doors_refusing=sum(one.refuses for one in live.reports),
        pods=_pods(there),
        is_rolling=not there or any(not rollout.is_done(one) for one in there) or _is_behind(running, live, told),
        troubles=(*_refused(observations), *_failed(there), *_stuck(live)),
        waits=tuple(dict.fromkeys(f"{one.role} waits: {one.message}" for one in live.reports if one.message)),
        behind=steering.behind(running, live) if running else {},
        log_answers=_answers(live),
        log_trouble=next((one.log_trouble for one in live.reports if one.log_trouble), None),
        taker_trouble=next((one.trouble for one in live.reports if one.trouble and one.role == _taker(running)), None),
        log_id=next((one.log_id for one in live.reports if one.log_id), ""),
        log_bytes=log_bytes,
        log_limit=lower.log_bytes(running.pipeline) if running else 0,
        log_bytes_per_second=_rate(log_bytes, before.get("log", {}).get("bytes"), before, observations.now),
        events_per_second=_events_rate(gathered, before, observations.now),
        is_drained=running is not None and acceptance.is_drained(running, live),
        before=before,
        observations=observations,
    )


def _lanes(running: revision.Revision | None, live: snapshot.Snapshot, now: datetime.datetime) -> tuple[lanes.Lane, ...]:
    sinks = [sink.name for sink in running.pipeline.spec.sinks] if running else []
    return tuple(lanes.gathered(sink, live.lanes(sink), _unheard(sink, live, now)) for sink in sinks)


def _unheard(sink: str, live: snapshot.Snapshot, now: datetime.datetime) -> list[str]:
    """Batchers that could have been asked several times since they are ready, and have said nothing lately."""
    heard = {one.pod for one in live.reports}
    wanted = identity.selector(live.name, "batcher", sink).items()
    mine = [pod for pod in live.pods if wanted <= pod["metadata"].get("labels", {}).items()]
    return [pod["metadata"]["name"] for pod in mine if pod["metadata"]["name"] not in heard and _is_long_ready(pod, now)]


def _is_long_ready(pod: snapshot.Manifest, now: datetime.datetime) -> bool:
    told: snapshot.Manifest = next((one for one in pod.get("status", {}).get("conditions", ()) if one["type"] == "Ready"), {})
    since = times.moment(told.get("lastTransitionTime"))
    return told.get("status") == "True" and since is not None and (now - since).total_seconds() >= UNHEARD_SECONDS


def _is_behind(running: revision.Revision | None, live: snapshot.Snapshot, told: settings.Settings) -> bool:
    """Whether a Deployment is not yet what it is meant to be, because it waits for its turn or was applied just now."""
    for manifest in children.wanted(running, live, told).workloads if running else ():
        there = live.child("Deployment", manifest["metadata"]["name"])
        if there is None or rollout.digest(there) != rollout.digest(manifest):
            return True
    return False


def _takers_ready(running: revision.Revision | None, there: list[snapshot.Manifest]) -> int:
    """Ready pods of those that take events in: doors, or batchers where there are none."""
    taker = _taker(running)
    return sum(rollout.available(one) for one in there if one["metadata"]["labels"][identity.ROLE_LABEL] == taker)


def _taker(running: revision.Revision | None) -> str:
    return "ingest" if running is None or running.has_doors else "batcher"


def _pods(there: list[snapshot.Manifest]) -> dict[str, tuple[int, int]]:
    """Ready and wanted, by role."""
    found: dict[str, tuple[int, int]] = {}
    for one in there:
        role = one["metadata"]["labels"][identity.ROLE_LABEL]
        ready, wanted = found.get(role, (0, 0))
        found[role] = ready + rollout.available(one), wanted + rollout.replicas(one)
    return found


def _answers(live: snapshot.Snapshot) -> bool | None:
    """Whether the log answers anybody; each pod that has it open asks it every few seconds. None: nobody has it open yet."""
    if any(one.log_id and not one.log_trouble for one in live.reports):
        return True
    return False if any(one.log_trouble for one in live.reports) else None


def _refused(observations: snapshot.Observations) -> list[Trouble]:
    permanent = ("Invalid", "Forbidden", "NameTaken", "BadManifest")
    return [
        Trouble(reason=one.reason, message=f"{one.child}: {one.message}", needs_person=one.reason in permanent)
        for one in observations.refusals
    ]


def _failed(there: list[snapshot.Manifest]) -> list[Trouble]:
    """Quota and admission, which stand at the Deployment. A deadline alone says nothing that its pods don't say better."""
    found = [(one, rollout.failure(one)) for one in there]
    return [
        Trouble(reason=failed[0] or "FailedCreate", message=f"{one['metadata']['name']}: {failed[1]}", needs_person=True)
        for one, failed in found
        if failed and failed[0] != "ProgressDeadlineExceeded"
    ]


def _stuck(live: snapshot.Snapshot) -> list[Trouble]:
    """Images that are missing, containers that end at once, pods that fit nowhere."""
    found = []
    for pod in live.pods:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        for one in status.get("containerStatuses", ()):
            waiting = one.get("state", {}).get("waiting", {})
            if waiting.get("reason") in _IMAGE_TROUBLES:
                text = f"{name}: {waiting.get('message') or waiting['reason']}"
                found.append(Trouble(reason=waiting["reason"], message=text, needs_person=True))
        for one in status.get("conditions", ()):
            if one.get("type") == "PodScheduled" and one.get("reason") == "Unschedulable":
                text = f"{name}: {one.get('message', '')}"
                found.append(Trouble(reason="Unschedulable", message=text, needs_person=False))
    return found


def _rate(value: int, before_value: int | None, before: Mapping[str, Any], now: datetime.datetime) -> float | None:
    """Per second, over at least a second; None where it can't be told or went back."""
    then = times.moment(before.get("observedAt"))
    seconds = (now - then).total_seconds() if then else 0.0
    if before_value is None or seconds < 1 or value < before_value:
        return None
    return (value - before_value) / seconds


def _events_rate(gathered: tuple[lanes.Lane, ...], before: Mapping[str, Any], now: datetime.datetime) -> float | None:
    """Events read by the lane that reads most."""
    known = {one["sink"]: one.get("ledger", {}).get("events", {}).get("read") for one in before.get("lanes", ())}
    rates = [_rate(lane.read, known.get(lane.sink), before, now) for lane in gathered if lane.reports]
    return max((rate for rate in rates if rate is not None), default=None)
