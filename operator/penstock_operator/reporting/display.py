"""The columns of `kubectl get`, and the sentence: what somebody reads first at three in the morning."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.api import lower
from penstock_operator import children
from penstock_operator.reporting import conditions, lanes, times, view

Verdicts = Sequence[conditions.Verdict]


def state(seen: view.View, found: Verdicts) -> str:
    """One word. Of several that are true, the one a person has to do most about."""
    by_type = {one.type: one for one in found}
    landing = by_type["Landing"]
    if seen.running is None:
        return "Stalled"
    if any(lane.code and not conditions.access(lane) for lane in seen.lanes):
        return "Halted"
    if by_type["Ready"].status != "True":
        if by_type["Ready"].reason == "Reopening":
            return "Updating"
        # A pipeline that was never up is on its way; one that was is down.
        was_up = any(one["type"] == "Ready" and one["status"] == "True" for one in seen.before.get("conditions", ()))
        known = seen.before.get("display", {}).get("state", "")
        return "Down" if was_up or known == "Down" or not seen.is_rolling else "Starting"
    if by_type["Stalled"].status == "True":
        return "Stalled"
    if seen.lifecycle in ("Stopped", "Draining"):
        return by_type["Ready"].reason
    if seen.lifecycle == "Paused":
        return "Paused"
    if landing.reason in ("CircuitOpen", "CredentialsRejected", "SecretMissing"):
        return "Degraded"
    if by_type["Reconciling"].status == "True":
        return "Updating"
    if landing.reason == "Paused" and all(lane.state == "Paused" for lane in seen.lanes):
        return "Paused"
    return "Degraded" if _is_silent(seen, landing) else "Running"


def _is_silent(seen: view.View, landing: conditions.Verdict) -> bool:
    return landing.reason == "NoBatcherAnswers" and conditions.silent_seconds(seen) >= conditions.SILENT_SECONDS


def columns(seen: view.View, found: Verdicts) -> dict[str, str]:
    """`status.display`. A dash: not known now."""
    answering = [lane for lane in seen.lanes if lane.reports]
    oldest = max((lane.oldest_unread_seconds for lane in answering), default=None)
    p99 = max((lane.latency_p99_seconds for lane in answering), default=0.0)
    left = conditions.fills_in_seconds(seen)
    return {
        "state": state(seen, found),
        "rate": "-" if seen.events_per_second is None else f"{times.short(seen.events_per_second)}/s",
        "lag": "-" if oldest is None else times.spoken(oldest),
        "batch": times.short(max((lane.rows for lane in answering), default=0)) if answering else "-",
        "circuit": _circuit(seen.lanes),
        "dead": str(sum(lane.outstanding for lane in answering)) if answering else "-",
        "retain": "-" if left is None else times.spoken(left),
        "p99": times.spoken(p99) if p99 else "-",
        "objective": _objective(seen),
        "replicas": " ".join("{}/{}".format(*seen.pods.get(role, (0, 0))) for role in reversed(children.STAGES)),
    }


def _circuit(of: Sequence[lanes.Lane]) -> str:
    """Closed, or how many of the lanes are not."""
    states = [lane.circuit for lane in of if lane.reports and lane.circuit != "Unknown"]
    if not states:
        return "-"
    open_ = [one for one in states if one != "Closed"]
    return f"{len(open_)}/{len(of)} {open_[0]}" if open_ else "Closed"


def _objective(seen: view.View) -> str:
    sinks = seen.running.pipeline.spec.sinks if seen.running else ()
    wanted = [lower.batching(sink).objective_seconds for sink in sinks]
    return times.spoken(min(wanted)) if wanted else "-"


def sentence(seen: view.View, found: Verdicts) -> str:
    """`status.message`: what is wrong and what it means for the events, or that nothing is."""
    by_type = {one.type: one for one in found}
    stalled, ready, landing = by_type["Stalled"], by_type["Ready"], by_type["Landing"]
    parts = []
    if stalled.status == "True":
        parts.append(stalled.message)
    if ready.status != "True" and ready.message not in parts:
        parts.append(ready.message)
    if landing.status == "False" and landing.reason not in ("Paused", "Stopped") and landing.message not in parts:
        parts.append(_outage(seen) if landing.reason == "CircuitOpen" else landing.message)
    if _is_silent(seen, landing):
        age = times.spoken(conditions.silent_seconds(seen))
        parts.append(f"whether all rows land has not been known for {age}: {landing.message}; look at the batchers' logs")
    parts += [by_type[type_].message for type_ in ("Conserved", "RetentionSafe") if by_type[type_].status == "False"]
    if not parts and seen.lifecycle != "Running":
        parts.append(ready.message)
    if not parts and by_type["Reconciling"].status == "True":
        parts.append(f"rolling out: {by_type['Reconciling'].message}")
    return "; ".join([*parts, *seen.notices])[:4096] or "events are taken and land"


def _outage(seen: view.View) -> str:
    """The lane, for how long, what the store said, and what waits meanwhile."""
    known = {one["sink"]: one.get("circuit", {}) for one in seen.before.get("lanes", ())}
    told = []
    for lane in seen.lanes:
        if lane.circuit in ("Open", "HalfOpen"):
            was = known.get(lane.sink, {})
            since = times.moment(was.get("since")) if was.get("state") == lane.circuit else None
            age = f" {times.spoken((seen.now - since).total_seconds())}" if since else ""
            told.append(f"{lane.sink}: circuit {lane.circuit.lower()}{age}, {lane.message or 'the store does not answer'}")
    waiting = sum(lane.lag_events for lane in seen.lanes)
    left = conditions.fills_in_seconds(seen)
    until = f", {times.spoken(left)} until the doors refuse" if left is not None else ""
    return f"{'; '.join(told)}; {times.short(waiting)} events wait in the log{until}; nothing is lost"
