"""What running pods are told: settings, and that their store is away."""

from __future__ import annotations

import dataclasses
from typing import Any

import hypothesis
from hypothesis import strategies
from tests.unit.operator import cluster, driving
from tests.unit.operator import situations as given

from penstock.api import live, load
from penstock.api.model import sinks
from penstock_operator import actions, snapshot
from penstock_operator.planning import steering
from penstock_operator.resources import config

_FAST: dict[str, Any] = {"static": {"rows": 7}}


def _version(**changes: Any) -> str:
    return live.version(sinks.Sink.model_validate(cluster.sink(**changes)))


def _pod(name: str = "b-0", **lane: Any) -> snapshot.PodReport:
    return dataclasses.replace(given.batcher(name, **lane), address=f"{name}:9465")


def _told(planned: list[actions.Action]) -> list[actions.Action]:
    return [one for one in planned if isinstance(one, actions.ToPod)]


def test_an_edit_of_batching_is_told_and_rolls_nothing() -> None:
    """Catches a roll-out for a number that a lane can take while it runs, and pods that start anew with the old one."""
    there = driving.converged()
    templates = {name: one["spec"]["template"] for (kind, name), one in there.objects.items() if kind == "Deployment"}
    there.edit(sinks=[cluster.sink(batching=_FAST)])
    planned = driving.planned(there, _pod(settings_version=_version()))
    (told,) = _told(planned)
    assert isinstance(told, actions.Follow)
    assert (told.pod, told.sink, told.settings, told.generation) == ("b-0", "warehouse", '{"batching":{"static":{"rows":7}}}', 2)
    assert told.version == _version(batching=_FAST)
    driving.settle(there)
    now = {name: one["spec"]["template"] for (kind, name), one in there.objects.items() if kind == "Deployment"}
    assert now == templates
    (file,) = [one for (kind, name), one in there.objects.items() if name.startswith("clicks-batcher-")]
    assert '"rows": 7' in file["data"]["pipeline.yaml"]


def test_a_pod_and_the_operator_call_the_same_settings_by_the_same_name() -> None:
    """Catches pods that are told once more after each start, because a cluster writes defaults out."""
    written_out = {"mode": "Auto", "limits": {"rows": 7}, "static": {}, "objective": {"percentile": 99}}
    there = driving.converged(cluster.pipeline(sinks=[cluster.sink(batching=written_out, retry={}), cluster.sink("lake")]))
    running = config.read_accepted(there.snapshot())
    assert running is not None
    for name in ("warehouse", "lake"):
        read = load.load_one(running.file("batcher", name))
        (there_,) = [sink for sink in read.spec.sinks if sink.name == name]
        assert live.version(there_) == live.version(running.sink(name))
    assert live.version(running.sink("warehouse")) == _version(batching={"limits": {"rows": 7}})


def test_a_pod_that_follows_or_knows_no_settings_is_told_nothing() -> None:
    """Catches a word with each look, and one to a pod of a release that would not hear it."""
    there = driving.converged(cluster.pipeline(sinks=[cluster.sink(batching=_FAST)]))
    for version in (_version(batching=_FAST), ""):
        assert _told(driving.planned(there, _pod(settings_version=version))) == []
    # One that has begun with the file of a minute ago.
    assert len(_told(driving.planned(there, _pod(settings_version=_version())))) == 1


@hypothesis.given(strategies.lists(strategies.sampled_from(["Open", "HalfOpen", "Closed", "Unknown"]), max_size=9))
def test_an_open_circuit_is_spread_by_a_majority_and_to_closed_ones_only(circuits: list[str]) -> None:
    """Catches one pod with a bad network that stops the lane, and a trial write that is cut off."""
    reports = tuple(_pod(f"b-{number}", circuit=circuit) for number, circuit in enumerate(circuits))
    told = list(steering.spread(snapshot.Snapshot(pipeline=cluster.pipeline(), reports=reports)))
    known = [one for one in circuits if one != "Unknown"]
    majority = known.count("Open") * 2 > len(known)
    assert [one.pod for one in told] == [f"b-{number}" for number, one in enumerate(circuits) if one == "Closed" and majority]


def test_those_who_are_told_of_an_open_circuit_hear_the_store_s_words() -> None:
    """Catches a circuit that is open for no reason anybody could read."""
    away = snapshot.Trouble(code="CONNECTION", message="refused connection")
    reports = (_pod("a", circuit="Open", trouble=away), _pod("b", circuit="Open"), _pod("c"))
    (told,) = steering.spread(snapshot.Snapshot(pipeline=cluster.pipeline(), reports=reports))
    assert told.why == "2 of 3 batchers find the store away: refused connection"
