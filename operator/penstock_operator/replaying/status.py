"""`status` of a DeadLetterReplay, and what of it an admin wants to hear.

kstatus: Reconciling while it goes or waits its turn, Stalled while nothing goes on until a person has done something.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final

from penstock.core import runs
from penstock_operator import snapshot
from penstock_operator.replaying import standing
from penstock_operator.reporting import events, times

State = standing.State

_COUNTS: Final = ("selected", "replayed", "landed", "failed", "quarantined", "discarded")
_ENDS: Final = {"DryRun": "Counted", "Discard": "Discarded"}
_AGAIN: Final = "To go on with the rest, mend the cause, set spec.suspend to true and then to false"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Truth:
    """One condition that holds; the others are False."""

    type: str
    reason: str


def status(one: standing.Standing, refusals: Sequence[snapshot.Refusal], now: datetime.datetime) -> dict[str, Any]:
    """What is. Of an end that was told nothing changes but the number of the edit."""
    before = dict(one.replay.get("status") or {})
    generation = int(one.replay["metadata"].get("generation", 0))
    if one.is_told:
        told = [{**condition, "observedGeneration": generation} for condition in before.get("conditions", ())]
        return {**before, "observedGeneration": generation, "conditions": told}
    message, found = _said(one, refusals)
    made: dict[str, Any] = {
        "observedGeneration": generation,
        "action": one.action,
        "message": message[:4096],
        "conditions": _conditions(found, message, before, generation, now),
    }
    return {**made, **_counts(one, before), **_times(one, before, now)}


def _said(one: standing.Standing, refusals: Sequence[snapshot.Refusal]) -> tuple[str, list[_Truth]]:
    """The sentence, and what holds."""
    match one.state:
        case State.DONE:
            again = one.report is not None and one.report.already_run
            reason = "AlreadyRun" if again else _ENDS.get(one.action, "Replayed")
            said = f"done before, under this name and with this spec: {one.message}" if again else one.message
            return said, [_Truth(type="Complete", reason=reason)]
        case State.FAILED:
            message = f"{one.message}. What was put back stays so. {_AGAIN}"
            return message, [_Truth(type="Failed", reason=one.reason), _Truth(type="Stalled", reason=one.reason)]
        case State.STOPPED:
            message = f"{one.message}. {_AGAIN}"
            return message, [_Truth(type="Suspended", reason=one.reason), _Truth(type="Stalled", reason=one.reason)]
        case State.HELD:
            return "held as spec.suspend asks", [_Truth(type="Suspended", reason="Asked")]
        case State.TROUBLED:
            return one.message, [_Truth(type="Stalled", reason=one.reason)]
        case State.WAITING:
            return one.message, [_Truth(type="Reconciling", reason="Waiting")]
        case _:
            return _going(one, refusals)


def _going(one: standing.Standing, refusals: Sequence[snapshot.Refusal]) -> tuple[str, list[_Truth]]:
    going = _Truth(type="Reconciling", reason="Running")
    if refusals:
        first = refusals[0]
        message = f"{first.child}: {first.message}"
        # A name is taken for some seconds after an object of the same name was deleted, too.
        stuck = [] if first.reason == "NameTaken" else [_Truth(type="Stalled", reason=first.reason)]
        return message, [_Truth(type="Reconciling", reason=first.reason), *stuck]
    if one.reason:
        return one.message, [_Truth(type="Reconciling", reason=one.reason), _Truth(type="Stalled", reason=one.reason)]
    if one.report is None:
        return "its pod is on its way", [going]
    if one.report.phase is runs.Phase.WAITING:
        return one.report.message or "reads the letters", [going]
    told = one.report
    return f"{told.replayed:,} of {told.selected:,} put back, {told.landed:,} landed, {told.failed:,} failed again", [going]


def _conditions(
    found: list[_Truth], message: str, before: Mapping[str, Any], generation: int, now: datetime.datetime
) -> list[dict[str, Any]]:
    holds = {one.type: one.reason for one in found}
    known = {one["type"]: one for one in before.get("conditions", ())}
    why_not = found[0].reason
    made = []
    for type_ in ("Complete", "Failed", "Suspended", "Reconciling", "Stalled"):
        value = "True" if type_ in holds else "False"
        was = known.get(type_, {})
        made.append(
            {
                "type": type_,
                "status": value,
                "observedGeneration": generation,
                "lastTransitionTime": was["lastTransitionTime"] if was.get("status") == value else times.text(now),
                "reason": holds.get(type_, why_not),
                "message": message[:4096] if type_ in holds or type_ == "Complete" else "",
            }
        )
    return made


def _counts(one: standing.Standing, before: Mapping[str, Any]) -> dict[str, Any]:
    """The counts of the run; those that were known last while a pod that is new has none. Of another action nothing counts."""
    told = one.report
    if told is None or (told.phase is runs.Phase.WAITING and not told.selected):
        same = before.get("action") == one.action
        return {name: before[name] for name in (*_COUNTS, "byCategory", "byError") if same and name in before}
    return {
        **{name: getattr(told, name) for name in _COUNTS},
        # An empty map over a full one becomes null on its way, and is refused.
        **({"byCategory": dict(told.by_category)} if told.by_category else {}),
        "byError": [{"fingerprint": each.fingerprint, "count": each.count, "example": each.example} for each in told.by_error],
    }


def _times(one: standing.Standing, before: Mapping[str, Any], now: datetime.datetime) -> dict[str, str]:
    started = times.text(_moment(one.report.started_at)) if one.report and one.report.started_at else None
    if started is None and before.get("action") == one.action:
        started = before.get("startedAt")
    found = {"startedAt": started} if started else {}
    if one.state in (State.DONE, State.FAILED):
        ended = one.report.finished_at if one.report else 0
        found["finishedAt"] = times.text(_moment(ended) if ended else now)
    return found


def _moment(microseconds: int) -> datetime.datetime:
    return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(microseconds=microseconds)


def transitions(before: Mapping[str, Any], made: Mapping[str, Any]) -> list[events.Event]:
    """Ends, and what a person has to do something about."""
    was = {one["type"]: (one["status"], one["reason"]) for one in before.get("conditions", ())}
    found = []
    for one in made.get("conditions", ()):
        now = one["status"], one["reason"]
        if now[0] != "True" or was.get(one["type"]) == now:
            continue
        if one["type"] == "Complete":
            found.append(events.Event(type="Normal", reason=one["reason"], message=one["message"]))
        elif one["type"] == "Stalled":
            found.append(events.Event(type="Warning", reason=one["reason"], message=one["message"]))
    return found
