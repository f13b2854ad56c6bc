"""What the pods of a pipeline may say, and the status that follows from it."""

from __future__ import annotations

import datetime
import json
from typing import Any

from tests.unit.operator import cluster

from penstock.api.model import status as model
from penstock_operator import snapshot
from penstock_operator.planning import plan
from penstock_operator.reporting import status, times
from penstock_operator.resources import identity

NOW = datetime.datetime(2026, 1, 31, 8, tzinfo=datetime.UTC)
LATER = NOW + datetime.timedelta(minutes=1)


def observed(now: datetime.datetime = NOW, *refusals: snapshot.Refusal) -> snapshot.Observations:
    return snapshot.Observations(now=now, refusals=refusals)


def up(**spec: Any) -> cluster.Cluster:
    """A pipeline whose pods are all ready."""
    there = cluster.Cluster(cluster.pipeline(**spec))
    for _ in range(6):
        for action in plan.plan(there.snapshot(), cluster.SETTINGS):
            there.take(action)
        there.settle_all()
    return there


def told_of_lane(**changes: Any) -> snapshot.LaneReport:
    told: dict[str, Any] = {
        "sink": "warehouse",
        "state": "Running",
        "delivery_mode": "EffectivelyOnce",
        "delivery_reason": "InsertToken",
        "rows": 18_400,
        "latency_p99_seconds": 0.702,
        "ledger": snapshot.Ledger(read=1000, transformed=1000, made=3000, written=3000),
    }
    return snapshot.LaneReport(**{**told, **changes})


def batcher(pod: str = "b-0", log_bytes: int = 1 << 20, away: snapshot.Trouble | None = None, **lane: Any) -> snapshot.PodReport:
    """`away`: why it can't reach the log."""
    return snapshot.PodReport(
        pod=pod, role="batcher", log_id="7f", log_bytes=log_bytes, lanes=(told_of_lane(**lane),), trouble=away
    )


def door(away: snapshot.Trouble | None = None, log_id: str = "7f") -> snapshot.PodReport:
    return snapshot.PodReport(pod="i-0", role="ingest", log_id=log_id, log_bytes=1 << 20, accepted=1000, trouble=away)


AWAY = snapshot.Trouble(code="LOG_UNREACHABLE", message="no answer within 20 s")
REJECTED = snapshot.Trouble(code="LOG_CREDENTIALS_REJECTED", message="kafka:9093: it refuses these credentials")
MISSING = snapshot.Trouble(code="SECRET", message='secret "ch" has no key "password"', remedy="add the key, or name another one")


GAP = snapshot.Trouble(code="LogGap", message="it is so", remedy="do that")


def silent(seconds: float, settled_seconds: float = 3_600.0) -> dict[str, Any]:
    """For so long no batcher has answered, and for so long all pods have been there."""
    there = up()
    before = current(there, batcher(), door())
    now = NOW + datetime.timedelta(hours=1)
    for one in before["conditions"]:
        age = {"Landing": seconds, "Reconciling": settled_seconds}.get(one["type"], 0.0)
        one["lastTransitionTime"] = times.text(now - datetime.timedelta(seconds=age))
        one |= {"status": "Unknown", "reason": "NoBatcherAnswers"} if one["type"] == "Landing" else {}
    there.pipeline["status"] = before
    return current(there, door(), now=now)


def of_three(silent_seconds: float, ready_seconds: float = 3_600.0) -> dict[str, Any]:
    """One of three batchers has been ready for so long; for so long it has been known that nothing is heard of it."""
    there = up()
    now = NOW + datetime.timedelta(hours=1)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": times.text(now - datetime.timedelta(seconds=ready_seconds))}
    pods = tuple(
        {
            "metadata": {"name": f"b-{number}", "labels": identity.selector("clicks", "batcher", "warehouse")},
            "status": {"phase": "Running", "conditions": [ready]},
        }
        for number in range(3)
    )
    before = current(there, batcher("b-0"), door(), pods=pods, now=now)
    for one in before["conditions"]:
        if one["type"] == "Landing" and one["status"] == "Unknown":
            one["lastTransitionTime"] = times.text(now - datetime.timedelta(seconds=silent_seconds))
        elif one["type"] == "Reconciling":
            one["lastTransitionTime"] = times.text(NOW)
    there.pipeline["status"] = before
    return current(there, batcher("b-0"), batcher("b-2"), door(), pods=pods, now=now)


def no_taker(*reports: snapshot.PodReport, **spec: Any) -> dict[str, Any]:
    """No door is ready, and these are what pods say."""
    there = up(**spec)
    there.objects["Deployment", "clicks-ingest"]["status"]["availableReplicas"] = 0
    there.pipeline["status"] = {"display": {"state": "Running"}, "conditions": [{"type": "Ready", "status": "True"}]}
    return current(there, *reports)


def current(there: cluster.Cluster, *reports: snapshot.PodReport, now: datetime.datetime = NOW, **more: Any) -> dict[str, Any]:
    made = status.current(there.snapshot(*reports, **more), cluster.SETTINGS, observed(now))
    model.Status.model_validate_json(json.dumps(made))
    return made


def row(told: dict[str, Any]) -> tuple[str, str, str, str]:
    """Ready, Stalled, Landing, each with its reason where it says more than that all is well, and STATE."""
    shown = {}
    for one in told["conditions"]:
        good = one["status"] == ("False" if one["type"] == "Stalled" else "True")
        plain = good and one["reason"] in ("Accepting", "Settled", "Progressing", "Landing")
        shown[one["type"]] = one["status"] if plain else f"{one['status']} {one['reason']}"
    return shown["Ready"], shown["Stalled"], shown["Landing"], told["display"]["state"]


def healthy() -> dict[str, Any]:
    return current(up(), batcher(), door())


def rolling() -> dict[str, Any]:
    there = up()
    there.edit(transform={"filter": {"expression": "true"}})
    for action in plan.plan(there.snapshot(), cluster.SETTINGS):
        there.take(action)
    there.step("clicks--warehouse-sink")
    return current(there, batcher(), door())


def bad_edit() -> dict[str, Any]:
    there = up()
    there.edit(deadLetters={"retentionHours": 0})
    return current(there, batcher(), door())


def paused() -> dict[str, Any]:
    return current(up(lifecycle="Paused"), batcher(state="Paused"), door())


def halted(code: str) -> dict[str, Any]:
    return current(up(), batcher(state="Halted", message=f"{code}: it is so; do that"), door())


def no_pod() -> dict[str, Any]:
    there = up()
    for name in there.deployments():
        there.objects["Deployment", name]["status"]["availableReplicas"] = 0
    there.pipeline["status"] = {"display": {"state": "Running"}, "conditions": [{"type": "Ready", "status": "True"}]}
    return current(there)
