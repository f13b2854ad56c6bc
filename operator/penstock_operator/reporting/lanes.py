"""One lane out of what its pods say. Each pod has partitions of its own, so counts add up; of states the worst one holds."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final

from penstock_operator import snapshot
from penstock_operator.reporting import times

_STATES: Final = ("Halted", "Paused", "Starting", "Draining", "Running", "Drained")
"""The worst first."""
_CIRCUITS: Final = ("Open", "HalfOpen", "Closed")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A lane, all its pods together. `state` Unknown: none of them answers. `code` is why it is halted; `unheard` are pods that
    have been ready for long and don't answer."""

    sink: str
    state: str
    code: str
    message: str
    circuit: str
    replicas_open: int
    lag_events: int
    oldest_unread_seconds: float
    retention_used: float
    latency_p99_seconds: float
    rows: int
    unexplained: int
    outstanding: int
    read: int
    trouble: snapshot.Trouble | None
    reports: tuple[snapshot.LaneReport, ...]
    unheard: tuple[str, ...]


def gathered(sink: str, reports: Sequence[snapshot.LaneReport], unheard: Sequence[str] = ()) -> Lane:
    """The lane of a sink."""
    worst = min(reports, key=lambda one: _rank(_STATES, one.state), default=None)
    # A batcher that has only just begun says nothing of its circuit yet, and a newer one may know another word.
    circuit = min(
        (one.circuit if one.circuit in _CIRCUITS else "Unknown" for one in reports),
        key=lambda one: _rank(_CIRCUITS, one),
        default="Unknown",
    )
    spoken = next((one for one in reports if one.message and one is worst), None) or next(
        (one for one in reports if one.message), None
    )
    message = spoken.message if spoken else ""
    troubled = next((one for one in (worst, *reports) if one and one.trouble), None)
    if circuit in ("Open", "HalfOpen") and troubled and troubled.trouble:
        message = troubled.trouble.message  # the store's own words, and not that it has failed so often
    return Lane(
        sink=sink,
        state=worst.state if worst else "Unknown",
        code=_code(worst) if worst and worst.state == "Halted" else "",
        message=message,
        circuit=circuit,
        replicas_open=sum(one.circuit in ("Open", "HalfOpen") for one in reports),
        lag_events=sum(one.lag_events for one in reports),
        oldest_unread_seconds=max((one.oldest_unread_seconds for one in reports), default=0.0),
        retention_used=max((one.retention_used for one in reports), default=0.0),
        latency_p99_seconds=max((one.latency_p99_seconds for one in reports), default=0.0),
        rows=max((one.rows for one in reports), default=0),
        unexplained=sum(one.ledger.unexplained for one in reports),
        outstanding=sum(one.outstanding for one in reports),
        read=sum(one.ledger.read for one in reports),
        trouble=troubled.trouble if troubled else None,
        reports=tuple(reports),
        unheard=tuple(unheard),
    )


def _code(halted: snapshot.LaneReport) -> str:
    """A batcher of a release before says it in its message alone."""
    return halted.trouble.code if halted.trouble else halted.message.split(":", 1)[0]


def _rank(order: Sequence[str], word: str) -> int:
    return order.index(word) if word in order else len(order)


def as_status(lane: Lane, before: Mapping[str, Any], now: datetime.datetime) -> dict[str, Any]:
    """`status.lanes[]`. While no pod answers, the counts are those of before: unknown is not zero."""
    if not lane.reports:
        circuit = {**before.get("circuit", {}), "state": "Unknown"}
        return {**before, "sink": lane.sink, "state": lane.state, "message": "no batcher answers", "circuit": circuit}
    first = lane.reports[0]
    return {
        "sink": lane.sink,
        "state": lane.state,
        "message": lane.message[:4096],
        "delivery": {"mode": first.delivery_mode, "reason": first.delivery_reason[:255]},
        "lag": {
            "events": lane.lag_events,
            "oldestUnreadMilliseconds": round(lane.oldest_unread_seconds * 1000),
            "retentionUsedPercent": min(100, int(lane.retention_used * 100)),
        },
        "circuit": _circuit(lane, before.get("circuit", {}), now),
        "batching": {
            "rows": lane.rows,
            "lingerMilliseconds": round(max(one.linger_seconds for one in lane.reports) * 1000),
            "concurrency": sum(one.concurrency for one in lane.reports),
            "observedLatencyMilliseconds": round(lane.latency_p99_seconds * 1000),
        },
        "ledger": _ledger(lane),
        "deadLetters": _dead_letters(lane),
    }


def _circuit(lane: Lane, before: Mapping[str, Any], now: datetime.datetime) -> dict[str, Any]:
    since = before.get("since") if before.get("state") == lane.circuit else None
    made: dict[str, Any] = {"state": lane.circuit, "since": since or times.text(now), "replicasOpen": lane.replicas_open}
    last = lane.message if lane.circuit != "Closed" else before.get("lastFailure", "")
    return {**made, "lastFailure": last[:4096]}


def _ledger(lane: Lane) -> dict[str, Any]:
    def total(name: str) -> int:
        return sum(int(getattr(one.ledger, name)) for one in lane.reports)

    return {
        "events": {
            "read": total("read"),
            "duplicates": total("duplicates"),
            "deadLettered": total("events_dead_lettered"),
            "transformed": total("transformed"),
            "inFlight": total("events_in_flight"),
            "lost": total("lost"),
        },
        "rows": {
            "made": total("made"),
            "filtered": total("filtered"),
            "otherLanes": total("other_lanes"),
            "written": total("written"),
            "deadLettered": total("rows_dead_lettered"),
            "inFlight": total("rows_in_flight"),
        },
        "unexplained": lane.unexplained,
    }


def _dead_letters(lane: Lane) -> dict[str, Any]:
    by_category: dict[str, int] = {}
    for report in lane.reports:
        for category, count in report.by_category.items():
            by_category[category] = by_category.get(category, 0) + count
    made: dict[str, Any] = {
        "outstanding": lane.outstanding,
        "replayed": sum(one.replayed for one in lane.reports),
        "expired": sum(one.expired for one in lane.reports),
    }
    # Where an empty map is applied over a full one, the API server makes null of it, and refuses that.
    return {**made, "byCategory": dict(sorted(by_category.items()))} if by_category else made
