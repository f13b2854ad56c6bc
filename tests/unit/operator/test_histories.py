"""Any history of edits, crashes and controllers: the plan comes to rest, and on the way there takes nothing that serves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
from hypothesis import strategies
from tests.unit.operator import cluster, driving

from penstock_operator import actions
from penstock_operator.planning import rollout

_EDITS: dict[str, Callable[[cluster.Cluster], None]] = {
    "limits": lambda there: there.edit(
        sinks=[{**one, "batching": {"limits": {"rows": 7}}} for one in there.pipeline["spec"]["sinks"]]
    ),
    "more pods": lambda there: there.edit(sinks=[{**one, "replicas": {"min": 3}} for one in there.pipeline["spec"]["sinks"]]),
    "by another": lambda there: there.edit(
        sinks=[{**one, "replicas": {"mode": "External"}} for one in there.pipeline["spec"]["sinks"]]
    ),
    "second sink": lambda there: there.edit(sinks=[cluster.sink(), cluster.sink("lake")]),
    "one sink": lambda there: there.edit(sinks=[cluster.sink()]),
    "paused": lambda there: there.edit(lifecycle="Paused"),
    "stopped": lambda there: there.edit(lifecycle="Stopped"),
    "draining": lambda there: there.edit(lifecycle="Draining"),
    "running": lambda there: there.edit(lifecycle="Running"),
    "placement": lambda there: there.edit(pods={"nodeSelector": {"disk": "fast"}}),
    "resources": lambda there: there.edit(pods={"resources": {"batcher": {"requests": {"cpu": "1000m", "memory": "1024Mi"}}}}),
    "refused": lambda there: there.edit(log={"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9093"], "partitions": 7}}),
    "nonsense": lambda there: there.edit(deadLetters={"retentionHours": 0}),
    "account": lambda there: there.edit(serviceAccountName="clicks"),
}
_STEPS = strategies.lists(
    strategies.one_of(
        strategies.sampled_from(sorted(_EDITS)),
        strategies.tuples(strategies.just("plan"), strategies.integers(0, 30)),
        strategies.tuples(strategies.just("controller"), strategies.integers(0, 5)),
    ),
    max_size=16,
)


@hypothesis.settings(max_examples=15, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@hypothesis.given(_STEPS)
def test_any_history_comes_to_rest_and_takes_nothing_that_serves(steps: list[Any]) -> None:
    """Catches a plan that repeats itself, that ends ready pods before others are there, that turns the order of a roll-out
    around, that deletes a file which pods still read, or that a crash between two actions leads astray."""
    there = driving.converged()
    for step in steps:
        if isinstance(step, str):
            _EDITS[step](there)
        elif step[0] == "plan":
            # Cut off after some actions, as by a crash; the next plan begins from what is there.
            for action in driving.planned(there)[: step[1]]:
                _take(there, action)
        else:
            names_there = there.deployments()
            if names_there:
                there.step(names_there[step[1] % len(names_there)])
        assert there.files_in_use() <= {name for kind, name in there.objects if kind == "ConfigMap"}
    driving.settle(there)
    writes = there.writes
    assert driving.planned(there) == []
    assert there.writes == writes


def _take(there: cluster.Cluster, action: actions.Action) -> None:
    """Take an action that must not hurt: not while running, and not before its turn."""
    if isinstance(action, actions.Delete) and action.kind == "Deployment":
        kept = {sink["name"] for sink in there.pipeline["spec"]["sinks"]}
        assert not any(action.name.startswith(f"clicks--{sink}-") for sink in kept)
    if isinstance(action, actions.Apply) and action.manifest["kind"] == "Deployment":
        _assert_in_turn(there, action.manifest)
    there.take(action)


def _assert_in_turn(there: cluster.Cluster, manifest: dict[str, Any]) -> None:
    before = there.objects.get(("Deployment", manifest["metadata"]["name"]))
    if before is None or manifest["spec"].get("replicas") == 0:
        return
    if there.pipeline["spec"].get("lifecycle", "Running") in ("Running", "Paused"):
        assert manifest["spec"].get("replicas", 1) >= 1
    assert manifest["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    if rollout.digest(before) != rollout.digest(manifest):
        earlier = [
            one for key, one in there.objects.items() if key[0] == "Deployment" and cluster.stage(one) < cluster.stage(manifest)
        ]
        sink = manifest["metadata"]["labels"].get("penstock.dev/sink")
        mine = [
            one for one in earlier if _is_wanted(there, one) and sink in (None, one["metadata"]["labels"]["penstock.dev/sink"])
        ]
        assert not any(rollout.has_old_pods(one) for one in mine)


def _is_wanted(there: cluster.Cluster, deployment: dict[str, Any]) -> bool:
    sinks = {sink["name"] for sink in there.pipeline["spec"]["sinks"]}
    return any(deployment["metadata"]["name"].startswith(f"clicks--{sink}-") for sink in sinks)
