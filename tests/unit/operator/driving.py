"""Planning over the model of a cluster, and letting it come to rest."""

from __future__ import annotations

from typing import Any

from tests.unit.operator import cluster

from penstock_operator import actions, snapshot
from penstock_operator.planning import plan

MOST_ROUNDS = 40


def planned(there: cluster.Cluster, *reports: snapshot.PodReport, **more: Any) -> list[actions.Action]:
    """The plan for what is there now."""
    return plan.plan(there.snapshot(*reports, **more), cluster.SETTINGS)


def converged(described: dict[str, Any] | None = None) -> cluster.Cluster:
    """A pipeline that is as it should be."""
    there = cluster.Cluster(described or cluster.pipeline())
    settle(there)
    return there


def settle(there: cluster.Cluster) -> None:
    """Plan, apply, let the controllers work, until nothing is left to do."""
    for _ in range(MOST_ROUNDS):
        found = planned(there)
        if not found:
            return
        for action in found:
            there.take(action)
        there.settle_all()
    raise AssertionError(f"still planning: {[actions.described(one) for one in found]}")
