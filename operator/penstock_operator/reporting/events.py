"""Events: what an admin would want to hear of, once, when it begins and when it is over. Counts and roll-outs are none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

_TOLD_OF: Final = ("Ready", "Stalled", "SpecValid", "LogReachable", "Landing", "RetentionSafe", "Conserved")
_GOOD: Final = {"Stalled": "False"}
"""The status in which a condition is as it should be, where that isn't True."""
_CIRCUIT: Final = "CircuitOpen"
"""Told by lane, with the store's own words, and not once more as a condition."""
_AS_ASKED: Final = frozenset({"Paused", "Stopped", "Draining", "Drained", "Reopening"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`type` is Normal or Warning; one name per object and reason, so that a repetition is counted, not added."""

    type: str
    reason: str
    message: str


def transitions(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Event]:
    """The Events between two statuses."""
    known = {one["type"]: one for one in before.get("conditions", ())}
    told = [_of(known.get(one["type"]), one) for one in after.get("conditions", ()) if one["type"] in _TOLD_OF]
    return [*_distinct([one for one in told if one]), *_circuits(before.get("lanes", ()), after.get("lanes", ()))]


def _of(was: Mapping[str, Any] | None, now: Mapping[str, Any]) -> Event | None:
    """Nothing where nothing changed, and nothing for a good beginning but that the pipeline is up."""
    if was and (was["status"], was["reason"]) == (now["status"], now["reason"]):
        return None
    good = _GOOD.get(now["type"], "True")
    if now["status"] == "Unknown" or _CIRCUIT in (now["reason"], was["reason"] if was else ""):
        return None
    if now["status"] != good and now["reason"] not in _AS_ASKED:
        # What was never up is no news while it starts.
        starting = now["type"] == "Ready" and (was is None or was["status"] != "True")
        return None if starting else Event(type="Warning", reason=now["reason"], message=now["message"])
    if now["reason"] in _AS_ASKED:
        return Event(type="Normal", reason=now["reason"], message=now["message"])
    was_bad = was is not None and was["status"] not in (good, "Unknown")
    if now["type"] == "Ready" and (was is None or was["status"] != "True"):
        return Event(type="Normal", reason="Ready", message="events are taken and kept")
    return Event(type="Normal", reason=f"{now['type']}Again", message=_over(now["type"])) if was_bad else None


def _over(type_: str) -> str:
    return {
        "Stalled": "goes on",
        "SpecValid": "the object is valid again",
        "LogReachable": "the log answers again",
        "Landing": "rows land again",
        "RetentionSafe": "the log has room again",
        "Conserved": "the books balance again",
    }.get(type_, "as it should be again")


def _distinct(found: Sequence[Event]) -> list[Event]:
    """One cause shows in several conditions; it is told once, by the first of them."""
    return list({one.reason: one for one in reversed(found)}.values())[::-1]


def _circuits(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> list[Event]:
    known = {one["sink"]: one.get("circuit", {}).get("state") for one in before}
    found = []
    for lane in after:
        was, now = known.get(lane["sink"]), lane.get("circuit", {}).get("state")
        if now == "Open" and was not in ("Open", "HalfOpen"):
            message = f"{lane['sink']}: {lane.get('message') or 'the store does not answer'}"
            found.append(Event(type="Warning", reason="CircuitOpened", message=message))
        elif now == "Closed" and was in ("Open", "HalfOpen"):
            found.append(Event(type="Normal", reason="CircuitClosed", message=f"{lane['sink']}: the store answers again"))
    return found
