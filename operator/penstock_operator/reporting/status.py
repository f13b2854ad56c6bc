"""`status`: what the object says of itself, and when that is worth writing down.

What changes for a reader is written at once; counts at most every half minute, because each write wakes everybody who
watches; and a sign of life every ten minutes, because a status that nobody renews looks like one that is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from penstock.api import lower
from penstock_operator import settings, snapshot
from penstock_operator.reporting import conditions, display, lanes, times, view

COUNTERS_SECONDS: Final = 30.0
HEARTBEAT_SECONDS: Final = 600.0


def status(live: snapshot.Snapshot, told: settings.Settings, observations: snapshot.Observations) -> dict[str, Any]:
    """The status to write. Equal to the object's own one: there is nothing to write."""
    before = live.pipeline.get("status") or {}
    made = current(live, told, observations)
    age = _age_seconds(before, observations)
    if age is None or _at_once(made) != _at_once(before) or age >= HEARTBEAT_SECONDS:
        return made
    quiet = {"observedAt", "message", "display"}
    counted = {key: value for key, value in made.items() if key not in quiet}
    if age >= COUNTERS_SECONDS and counted != {key: value for key, value in before.items() if key not in quiet}:
        return made
    return dict(before)


def current(live: snapshot.Snapshot, told: settings.Settings, observations: snapshot.Observations) -> dict[str, Any]:
    """The status as it is now, whether it is worth writing or not."""
    seen = view.of(live, told, observations)
    found = conditions.verdicts(seen)
    known = {one["sink"]: one for one in seen.before.get("lanes", ())}
    made: dict[str, Any] = {
        "observedGeneration": live.generation,
        "message": display.sentence(seen, found),
        "display": display.columns(seen, found),
        "observedAt": times.text(observations.now),
        "conditions": conditions.as_status(found, seen, live.generation),
        "lanes": [lanes.as_status(lane, known.get(lane.sink, {}), observations.now) for lane in seen.lanes],
    }
    return {**made, "log": _log(seen)} if seen.running else made


def _log(seen: view.View) -> dict[str, Any]:
    """Identity stays once it is known; size is of now, or the last one while the log does not answer."""
    running, before = seen.running, seen.before.get("log", {})
    if running is None:
        return dict(before)
    kafka = running.pipeline.spec.log.kafka if running.pipeline.spec.log else None
    prefix = f"{running.namespace}.{running.name}"
    return {
        "clusterId": before.get("clusterId", ""),
        "logId": seen.log_id or before.get("logId", ""),
        "topic": f"{prefix}.events",
        "deadLetterTopic": f"{prefix}.dead-letters",
        "bootstrapServers": list(kafka.bootstrap_servers) if kafka else [],
        "partitions": lower.partitions(running.pipeline),
        "bytes": seen.log_bytes or before.get("bytes", 0),
        "bytesLimit": seen.log_limit,
    }


def _age_seconds(before: Mapping[str, Any], observations: snapshot.Observations) -> float | None:
    then = times.moment(before.get("observedAt"))
    return (observations.now - then).total_seconds() if then else None


def _at_once(told: Mapping[str, Any]) -> Any:
    """What no reader should see late."""
    return (
        told.get("observedGeneration"),
        told.get("display", {}).get("state"),
        [(one["type"], one["status"], one["reason"]) for one in told.get("conditions", ())],
        [(one["sink"], one.get("state"), one.get("circuit", {}).get("state")) for one in told.get("lanes", ())],
        told.get("log", {}).get("logId"),
    )
