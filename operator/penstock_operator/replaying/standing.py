"""Where each replay stands: what it waits for, or that it goes, or how it ended. Plan and status both go by this.

An end that was told stays: a Job that somebody clears away is not made again for it.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Final

from penstock.core import runs
from penstock_operator import snapshot
from penstock_operator.replaying import checking, situation

WRITING: Final = ("Replay", "Discard")
"""Actions that change what becomes of letters: of each lane one at a time."""
TOO_MANY: Final = "TooManyFailed"
_WAITING: Final = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")


class State(enum.Enum):
    """STOPPED: it suspended itself. HELD: somebody suspended it."""

    TROUBLED = "Troubled"
    HELD = "Held"
    WAITING = "Waiting"
    GOING = "Going"
    STOPPED = "Stopped"
    DONE = "Done"
    FAILED = "Failed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Of one replay. `report`: what is known of its run now, None where nothing new is; `behind`: whom it waits for, or what
    keeps its pod from starting. `is_told`: the status says the end already."""

    replay: snapshot.Manifest
    state: State
    asked: checking.Asked | None = None
    job: snapshot.Manifest | None = None
    report: runs.Report | None = None
    reason: str = ""
    message: str = ""
    is_told: bool = False

    @property
    def name(self) -> str:
        return str(self.replay["metadata"]["name"])

    @property
    def action(self) -> str:
        return str(self.replay["spec"].get("action", "DryRun"))


def all_of(here: situation.Situation) -> list[Standing]:
    """The oldest object first."""
    ordered = sorted(here.replays, key=lambda one: (str(one["metadata"].get("creationTimestamp", "")), _name(one)))
    found = [_alone(one, here) for one in ordered if not one["metadata"].get("deletionTimestamp")]
    taken: dict[str, str] = {}
    for one in found:
        if one.asked and _is_on_its_way(one):
            taken.update(dict.fromkeys(one.asked.sinks, one.name))
    return [_in_turn(one, taken) for one in found]


def _acts(one: Standing) -> bool:
    return one.asked is not None and one.state is State.GOING and one.action in WRITING


def _is_on_its_way(one: Standing) -> bool:
    """Whether it has its lanes: its Job goes, or was held just now and still has a pod."""
    if one.job is None or one.action not in WRITING or situation.is_over(one.job):
        return False
    return _has_pods(one.job) or (one.state is State.GOING and not situation.is_held(one.job))


def _has_pods(job: snapshot.Manifest) -> bool:
    told = job.get("status", {})
    return bool(told.get("active") or told.get("terminating"))


def _in_turn(one: Standing, taken: dict[str, str]) -> Standing:
    """The same, or waiting for the first that has one of its lanes; what it gets is taken."""
    if not _acts(one) or one.asked is None:
        return one
    before = {sink: taken[sink] for sink in sorted(one.asked.sinks) if taken.get(sink, one.name) != one.name}
    if before:
        sink, name = next(iter(before.items()))
        message = f"waits until {name} is done, which has the lane of {sink}; one replay at a time has a lane"
        return dataclasses.replace(one, state=State.WAITING, reason="Waiting", message=message)
    taken.update(dict.fromkeys(one.asked.sinks, one.name))
    return one


def _alone(replay: snapshot.Manifest, here: situation.Situation) -> Standing:
    """Without a look at the others."""
    job = here.job(replay)
    report = _report(job, here)
    if told := _told_before(replay):
        return Standing(replay=replay, state=told, job=job, is_told=True)
    held = bool(replay["spec"].get("suspend"))
    over = situation.is_over(job) if job else ""
    if job and over and not held:
        return _ended(replay, job, over, report, here)
    if over == "Complete" and report and report.phase is runs.Phase.COMPLETE and job:
        return _ended(replay, job, over, report, here)
    found = checking.asked(replay, here)
    if isinstance(found, checking.Trouble):
        return Standing(replay=replay, state=State.TROUBLED, job=job, report=report, reason=found.reason, message=found.message)
    if held:
        return Standing(replay=replay, state=State.HELD, asked=found, job=job, report=report, reason="Asked")
    reason, message = _stuck(job, here)
    return Standing(replay=replay, state=State.GOING, asked=found, job=job, report=report, reason=reason, message=message)


def _told_before(replay: snapshot.Manifest) -> State | None:
    """The end that the status tells of this action; one that can be got over ends when the object is suspended."""
    status = replay.get("status") or {}
    if status.get("action") != replay["spec"].get("action", "DryRun"):
        return None
    known = situation.conditions(replay)
    if known.get("Complete", {}).get("status") == "True":
        return State.DONE
    if replay["spec"].get("suspend"):
        return None
    if known.get("Failed", {}).get("status") == "True":
        return State.FAILED
    suspended = known.get("Suspended", {})
    return State.STOPPED if (suspended.get("status"), suspended.get("reason")) == ("True", TOO_MANY) else None


def _ended(
    replay: snapshot.Manifest, job: snapshot.Manifest, over: str, report: runs.Report | None, here: situation.Situation
) -> Standing:
    told: dict[str, Any] = {"replay": replay, "job": job, "report": report}
    if over == "Complete" and report and report.phase is runs.Phase.SUSPENDED:
        return Standing(state=State.STOPPED, reason=TOO_MANY, message=report.message, **told)
    if over == "Complete":
        return Standing(
            state=State.DONE, message=report.message if report else "its pod is gone, and its last word with it", **told
        )
    if report and report.phase is runs.Phase.REFUSED:
        return Standing(state=State.FAILED, reason="Refused", message=report.message, **told)
    failed = next(one for one in job["status"]["conditions"] if one["type"] == "Failed" and one["status"] == "True")
    message = "; ".join(filter(None, (str(failed.get("message", "")), _last_word(job, here))))
    return Standing(state=State.FAILED, reason=str(failed.get("reason") or "Failed"), message=message, **told)


def _report(job: snapshot.Manifest | None, here: situation.Situation) -> runs.Report | None:
    """What its pod says now, else the last word of its last pod."""
    if job is None:
        return None
    if said := here.said_by(job):
        return said.report
    for text in _last_words(job, here):
        try:
            return runs.decode(text)
        except runs.ReportError:
            continue
    return None


def _last_words(job: snapshot.Manifest, here: situation.Situation) -> list[str]:
    """Of its pods that ended, the newest first."""
    containers = [one for pod in reversed(here.pods_of(job)) for one in pod.get("status", {}).get("containerStatuses", ())]
    found = [str(one.get("state", {}).get("terminated", {}).get("message", "")) for one in containers]
    return [one for one in found if one]


def _last_word(job: snapshot.Manifest, here: situation.Situation) -> str:
    return next(iter(_last_words(job, here)), "")[-1000:].strip()


def _stuck(job: snapshot.Manifest | None, here: situation.Situation) -> tuple[str, str]:
    """Why its pod does not start, in the cluster's words."""
    for pod in here.pods_of(job) if job else ():
        for one in pod.get("status", {}).get("containerStatuses", ()):
            waiting = one.get("state", {}).get("waiting", {})
            if waiting.get("reason") in _WAITING:
                return str(waiting["reason"]), f"{_name(pod)}: {waiting.get('message') or waiting['reason']}"
    return "", ""


def _name(manifest: snapshot.Manifest) -> str:
    return str(manifest["metadata"]["name"])
