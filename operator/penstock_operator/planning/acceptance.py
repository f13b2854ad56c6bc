"""Which object runs: the one that is there, or, while that one can't be used, the last one that could.

What was accepted is kept in a ConfigMap, with the log that was chosen for it. An edit is held against that record, not
against what the pods happen to run.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from penstock.api import edits
from penstock.api.model import log as api_log
from penstock.core import errors
from penstock_operator import claims, revision, settings, snapshot
from penstock_operator.planning import here
from penstock_operator.resources import config, identity

INVALID: Final = "SpecInvalid"
CLAIMED: Final = "TopicClaimed"
"""Nothing is wrong with the object but that another pipeline was there first."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`running` None: nothing was ever acceptable, so nothing is made. `problems` say why the object itself does not run, and
    `reason` what kind they are of."""

    running: revision.Revision | None
    problems: tuple[errors.Problem, ...] = ()
    reason: str = INVALID
    notices: tuple[str, ...] = ()


def decide(live: snapshot.Snapshot, told: settings.Settings) -> Decision:
    """What should run."""
    try:
        before = config.read_accepted(live)
    except errors.InvalidPipelineError as error:
        # A record of another release: nothing is touched until this release, or that one, can read it.
        return Decision(running=None, problems=tuple(_unlocated(problem) for problem in error.problems))
    try:
        asked = _asked(live, told, before)
    except errors.InvalidPipelineError as error:
        return Decision(running=before, problems=tuple(_unlocated(problem) for problem in error.problems))
    problems = [*here.problems(asked.pipeline), *live.sql]
    if before is not None:
        problems += edits.check_edit(before.pipeline, asked.pipeline, drained=is_drained(before, live))
    if problems:
        return Decision(running=before, problems=tuple(problems))
    if claimed := _claimed(asked, before, live):
        return Decision(running=before, problems=tuple(claimed), reason=CLAIMED)
    notices = edits.notices(before.pipeline, asked.pipeline) if before else []
    return Decision(running=asked, notices=tuple(notices))


def problems_of(pipeline: snapshot.Manifest, log: dict[str, Any] | None) -> list[errors.Problem]:
    """What is wrong with an object in itself, over this log, whatever runs already; its expressions apart."""
    try:
        described = revision.read(revision.as_text(revision.reduced(pipeline, log)), generation=0, uid="").pipeline
    except errors.InvalidPipelineError as error:
        return [_unlocated(problem) for problem in error.problems]
    return [*here.problems(described), *claims.problems(claims.held(described), None, ())]


def _claimed(asked: revision.Revision, before: revision.Revision | None, live: snapshot.Snapshot) -> list[errors.Problem]:
    """What other pipelines have already of what this one asks for."""
    return claims.problems(claims.held(asked.pipeline), claims.held(before.pipeline) if before else None, live.rivals)


def is_drained(running: revision.Revision, live: snapshot.Snapshot) -> bool:
    """Whether every lane has landed all there is, and no door is left that would add to it."""
    if running.lifecycle != "Draining" or not _doors_refuse(live):
        return False
    return all(_has_landed_all(live.lanes(sink.name)) for sink in running.pipeline.spec.sinks)


def _doors_refuse(live: snapshot.Snapshot) -> bool:
    """One that says nothing may take events as long as clients are sent to it."""
    doors = {one.pod for one in live.reports if one.role == "ingest"}
    doors |= {str(pod["metadata"]["name"]) for pod in live.pods if _is_door(pod) and _is_ready(pod)}
    return doors <= {one.pod for one in live.reports if one.refuses}


def _is_door(pod: snapshot.Manifest) -> bool:
    return bool(pod["metadata"].get("labels", {}).get(identity.ROLE_LABEL) == "ingest")


def _is_ready(pod: snapshot.Manifest) -> bool:
    told = pod.get("status", {}).get("conditions", ())
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in told)


def _has_landed_all(reports: list[snapshot.LaneReport]) -> bool:
    busy = ("Starting", "Halted", "Paused")
    return bool(reports) and not any(
        one.lag_events or one.ledger.events_in_flight or one.ledger.rows_in_flight or one.state in busy for one in reports
    )


def _asked(live: snapshot.Snapshot, told: settings.Settings, before: revision.Revision | None) -> revision.Revision:
    """The object as it is, over the log it uses. Raises InvalidPipelineError."""
    text = revision.as_text(revision.reduced(live.pipeline, _log(live, told, before)))
    return revision.read(text, generation=live.generation, uid=str(live.pipeline["metadata"]["uid"]))


def _log(live: snapshot.Snapshot, told: settings.Settings, before: revision.Revision | None) -> dict[str, Any] | None:
    """The object's own log, else the one that was chosen for it, else the default. Its retention is always the object's."""
    own = live.pipeline["spec"].get("log") or {}
    if own.get("type"):
        return dict(own)
    chosen = _chosen_before(before) or (told.default_log and _plain(told.default_log))
    return {**chosen, **own} if chosen else None


def _chosen_before(before: revision.Revision | None) -> dict[str, Any] | None:
    log = before.data["spec"].get("log") if before else None
    return {key: value for key, value in log.items() if key != "retention"} if log else None


def _plain(log: api_log.Log) -> dict[str, Any]:
    return log.model_dump(by_alias=True, exclude_none=True, mode="json")


def _unlocated(problem: errors.Problem) -> errors.Problem:
    return dataclasses.replace(problem, line=0)
