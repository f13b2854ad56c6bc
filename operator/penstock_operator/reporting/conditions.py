"""The conditions, each by a small table of its own; docs/operator.md has what they mean together.

Ready is about what a user was promised: events are taken and kept safe. An outage of a store leaves it True, because nothing
is lost and no roll-out of anything else should wait for it. Stalled means that a person has to do something first.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from penstock.core import expiry
from penstock_operator import snapshot
from penstock_operator.reporting import lanes, remedies, times, view

_GAPS: Final = {
    "LogGap": "LogGap",
    "DamagedLog": "CorruptBlock",
    "CorruptBlock": "CorruptBlock",
    "BlockFormat": "BlockFormat",
    "LogRewound": "LogRewound",
    "StateLost": "StateLost",
    "StateSnapshot": "StateLost",
    "CommitMetadata": "CommitMetadata",
}
"""By the code of a halted lane: what is wrong with the log itself. Every other code is the store's."""
SILENT_SECONDS: Final = 60.0
"""So long may every batcher say nothing before a pipeline isn't called well any more: each is asked every ten seconds."""
NEARLY_FULL_PERCENT: Final = 90
FILLS_SOON_SECONDS: Final = 3600.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One condition without its times."""

    type: str
    status: str
    reason: str
    message: str = ""


def verdicts(seen: view.View) -> list[Verdict]:
    """All conditions, in the order they are listed."""
    return [
        ready(seen),
        _reconciling(seen),
        stalled(seen),
        _spec_valid(seen),
        _log_reachable(seen),
        landing(seen),
        Verdict(type="ObjectiveFeasible", status="Unknown", reason="NotMeasured", message="batching is not tuned yet"),
        _retention_safe(seen),
        _conserved(seen),
    ]


def ready(seen: view.View) -> Verdict:
    """Whether what was asked for holds: events are taken and kept, or, where that was asked, they are not."""
    if seen.running is None:
        return Verdict(type="Ready", status="False", reason=seen.refused_for, message=_first_problem(seen))
    if seen.lifecycle == "Stopped":
        return Verdict(type="Ready", status="True", reason="Stopped", message="nothing runs, as asked")
    if seen.lifecycle == "Draining":
        reason = "Drained" if seen.is_drained else "Draining"
        return Verdict(type="Ready", status="True", reason=reason, message="the doors refuse, as asked")
    if seen.log_answers is False:
        return Verdict(type="Ready", status="False", reason=_log_reason(seen), message=_log_message(seen))
    if seen.takers_ready == 0 and seen.taker_trouble and seen.taker_trouble.is_secret:
        return Verdict(type="Ready", status="False", reason="SecretMissing", message=_why_no_pod(seen))
    if seen.takers_ready and seen.takers_ready <= seen.doors_refusing:
        message = "the doors that were drained are being replaced by ones that take events"
        return Verdict(type="Ready", status="False", reason="Reopening", message=message)
    if seen.takers_ready == 0:
        return Verdict(type="Ready", status="False", reason="NoPodReady", message=_why_no_pod(seen))
    if seen.lifecycle == "Paused":
        return Verdict(type="Ready", status="True", reason="Paused", message="events are taken, and wait in the log, as asked")
    return Verdict(type="Ready", status="True", reason="Accepting", message="events are taken and kept")


def _why_no_pod(seen: view.View) -> str:
    told = [seen.troubles[0].message] if seen.troubles else list(seen.waits)
    return "; ".join(told) or "no pod that takes events is ready yet"


def _reconciling(seen: view.View) -> Verdict:
    rolling = seen.running is not None and seen.is_rolling
    if not rolling and seen.behind:
        told = ", ".join(f"{sink} {follow} of {pods}" for sink, (follow, pods) in sorted(seen.behind.items()))
        message = f"pods that follow the new settings: {told}"
        return Verdict(type="Reconciling", status="True", reason="Applying", message=message)
    if not rolling:
        return Verdict(type="Reconciling", status="False", reason="Settled")
    counts = ", ".join(f"{role} {ready} of {wanted}" for role, (ready, wanted) in sorted(seen.pods.items()))
    return Verdict(type="Reconciling", status="True", reason="RollingOut", message=counts or "making the first pods")


def stalled(seen: view.View) -> Verdict:
    """Whether nothing goes on until a person has done something."""
    if seen.problems:
        kept = "; what was accepted before goes on" if seen.running else ""
        return Verdict(type="Stalled", status="True", reason=seen.refused_for, message=_first_problem(seen) + kept)
    for lane in seen.lanes:
        if lane.code in _GAPS:
            return Verdict(type="Stalled", status="True", reason=_GAPS[lane.code], message=f"{lane.sink}: {lane.message}")
    if seen.is_rolling and (stuck := next((one for one in seen.troubles if one.needs_person), None)):
        return Verdict(type="Stalled", status="True", reason=stuck.reason, message=stuck.message)
    return Verdict(type="Stalled", status="False", reason="Progressing" if seen.is_rolling else "Settled")


def _spec_valid(seen: view.View) -> Verdict:
    if not seen.problems:
        return Verdict(type="SpecValid", status="True", reason="Valid")
    told = "; ".join(problem.sentence for problem in seen.problems)
    return Verdict(type="SpecValid", status="False", reason=seen.refused_for, message=told)


def _first_problem(seen: view.View) -> str:
    return seen.problems[0].sentence if seen.problems else "nothing was accepted yet"


def _log_reachable(seen: view.View) -> Verdict:
    if seen.log_answers is None:
        return Verdict(type="LogReachable", status="Unknown", reason="NoPodAnswers")
    if seen.log_answers:
        return Verdict(type="LogReachable", status="True", reason="Reachable")
    reason = _log_reason(seen).removeprefix("Log")
    return Verdict(type="LogReachable", status="False", reason=reason, message=_log_message(seen))


def _log_reason(seen: view.View) -> str:
    told = seen.log_trouble
    if told and told.is_secret:
        return "SecretMissing"
    return "CredentialsRejected" if told and told.is_rejection else "LogUnreachable"


def _log_message(seen: view.View) -> str:
    """What pods say, and which Secrets to look at where those are the reason."""
    told = seen.log_trouble
    said = told.message if told else ""
    if seen.running is None or not told or _log_reason(seen) == "LogUnreachable":
        return f"the brokers don't answer ({said}): events are refused, nothing that was taken is lost"
    spec = seen.running.pipeline.spec
    kept = remedies.secrets(spec.log, spec.source.kafka)
    return f"{said}; events are refused, nothing that was taken is lost; put right: {kept or 'spec.log'}"


def landing(seen: view.View) -> Verdict:
    """Whether what is taken arrives. Of several reasons the one that takes a person first."""
    if seen.lifecycle == "Stopped":
        return Verdict(type="Landing", status="False", reason="Stopped", message="nothing runs, as asked")
    if seen.log_answers is False or not seen.lanes:
        return Verdict(type="Landing", status="Unknown", reason=_log_reason(seen) if seen.lanes else "NothingRuns")
    if refused := next((lane for lane in seen.lanes if lane.state != "Paused" and access(lane)), None):
        return _no_access(seen, refused)
    for lane in seen.lanes:
        if lane.code:
            reason = _GAPS.get(lane.code) or ("RejectFlood" if lane.code == "RejectFlood" else "SinkMisconfigured")
            return Verdict(type="Landing", status="False", reason=reason, message=f"{lane.sink}: {lane.message}")
    away = [lane for lane in seen.lanes if lane.circuit in ("Open", "HalfOpen")]
    if away:
        told = "; ".join(f"{lane.sink}: {lane.message or 'the store does not answer'}" for lane in away)
        return Verdict(type="Landing", status="False", reason="CircuitOpen", message=told)
    held = [lane.sink for lane in seen.lanes if lane.state == "Paused"]
    if held:
        return Verdict(type="Landing", status="False", reason="Paused", message=f"held as asked: {', '.join(held)}")
    silent = [lane.sink for lane in seen.lanes if lane.state in ("Unknown", "Starting")]
    partly = [lane for lane in seen.lanes if lane.unheard and lane.sink not in silent]
    if silent or partly:
        whole = [f"lanes: {', '.join(silent)}"] if silent else []
        told = "; ".join([*whole, *map(_of_several, partly), *seen.waits])
        return Verdict(type="Landing", status="Unknown", reason="NoBatcherAnswers", message=told)
    return Verdict(type="Landing", status="True", reason="Landing")


def _of_several(lane: lanes.Lane) -> str:
    counts = f"{len(lane.unheard)} of {len(lane.unheard) + len(lane.reports)} batchers"
    return f"{lane.sink}: of {counts} nothing is heard ({', '.join(lane.unheard)})"


def silent_seconds(seen: view.View) -> float:
    """How long it has not been known whether all rows land, although no pod is on its way."""
    known = {one["type"]: one for one in seen.before.get("conditions", ())}
    lands, rolls = known.get("Landing", {}), known.get("Reconciling", {})
    if lands.get("reason") != "NoBatcherAnswers" or rolls.get("status") != "False":
        return 0.0
    since = [times.moment(one.get("lastTransitionTime")) for one in (lands, rolls)]
    return min(((seen.now - one).total_seconds() for one in since if one), default=0.0)


def access(lane: lanes.Lane) -> str:
    """Why the store's door is closed to a lane, where that is all that is wrong with it: it tries again by itself."""
    if lane.trouble is None:
        return ""
    if lane.trouble.is_secret:
        return "SecretMissing"
    return "CredentialsRejected" if lane.trouble.is_rejection else ""


def _no_access(seen: view.View, lane: lanes.Lane) -> Verdict:
    """The store is there, and these rows could land as soon as somebody has mended a Secret."""
    told = lane.trouble or snapshot.Trouble(code="")
    kept = remedies.secrets(seen.running.sink(lane.sink)) if seen.running else ""
    message = "; ".join(filter(None, (f"{lane.sink}: {told.message}", told.remedy, kept and f"see {kept}")))
    return Verdict(type="Landing", status="False", reason=access(lane), message=message)


def _retention_safe(seen: view.View) -> Verdict:
    limit, used = seen.log_limit, seen.log_bytes
    if near := [lane for lane in seen.lanes if lane.retention_used >= expiry.NEAR]:
        told = ", ".join(f"{lane.sink} {min(lane.retention_used, 1.0):.0%}" for lane in near)
        message = (
            f"the oldest unread records have used up most of what the source's topics keep ({told}), and are deleted unread "
            "behind that: raise retention.ms or retention.bytes of the topics, or make the lanes land"
        )
        return Verdict(type="RetentionSafe", status="False", reason="SourceDeletesSoon", message=message)
    if not limit or seen.log_answers is not True:
        return Verdict(type="RetentionSafe", status="Unknown", reason="NotMeasured")
    if used >= limit:
        message = "the log is full and the doors refuse; nothing is lost: make the lanes land, or raise log.retention.maxBytes"
        return Verdict(type="RetentionSafe", status="False", reason="LogFull", message=message)
    if used * 100 >= limit * NEARLY_FULL_PERCENT:
        message = f"the log holds {used * 100 // limit} % of log.retention.maxBytes; beyond it the doors refuse"
        return Verdict(type="RetentionSafe", status="False", reason="LogNearlyFull", message=message)
    left = fills_in_seconds(seen)
    if left is not None and left < FILLS_SOON_SECONDS:
        message = "at the present rate the log is full within the hour, and the doors refuse"
        return Verdict(type="RetentionSafe", status="False", reason="LogFillsSoon", message=message)
    return Verdict(type="RetentionSafe", status="True", reason="RoomLeft")


def fills_in_seconds(seen: view.View) -> float | None:
    """How long until the log is full, at the rate since the last status; None while it does not grow."""
    rate = seen.log_bytes_per_second
    return (seen.log_limit - seen.log_bytes) / rate if rate and seen.log_limit else None


def _conserved(seen: view.View) -> Verdict:
    wrong = [lane for lane in seen.lanes if lane.unexplained]
    if wrong:
        told = ", ".join(f"{lane.sink} {lane.unexplained}" for lane in wrong)
        message = f"events and rows the books can't place: {told}; keep the log and report it"
        return Verdict(type="Conserved", status="False", reason="Unexplained", message=message)
    if not any(lane.reports for lane in seen.lanes):
        return Verdict(type="Conserved", status="Unknown", reason="NoBatcherAnswers")
    return Verdict(type="Conserved", status="True", reason="Balanced")


def as_status(found: list[Verdict], seen: view.View, generation: int) -> list[dict[str, Any]]:
    """`status.conditions`. The time of a condition is that of its last change of status."""
    before = {one["type"]: one for one in seen.before.get("conditions", ())}
    made = []
    for one in found:
        known = before.get(one.type, {})
        since = known.get("lastTransitionTime") if known.get("status") == one.status else None
        made.append(
            {
                "type": one.type,
                "status": one.status,
                "observedGeneration": generation,
                "lastTransitionTime": since or times.text(seen.now),
                "reason": one.reason,
                "message": one.message[:4096],
            }
        )
    return made
