"""A model of a cluster in which replays are: what its API, its Job controller and a pod do with what is applied."""

from __future__ import annotations

import copy
import datetime
import json
from typing import Any

from tests.unit.operator import cluster

from penstock.core import runs
from penstock_operator import actions as pipeline_actions
from penstock_operator.planning import acceptance
from penstock_operator.replaying import actions, plan, situation, standing, status
from penstock_operator.resources import config

NOW = datetime.datetime(2026, 1, 31, 8, tzinfo=datetime.UTC)
SINKS = ("warehouse", "lake")


def replay(name: str = "again", *, number: int = 0, **spec: Any) -> dict[str, Any]:
    """As the API tells it; later ones have higher numbers."""
    defaults = {"select": {"categories": [], "sinks": [], "fingerprints": []}, "action": "Replay", "suspend": False}
    return {
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "DeadLetterReplay",
        "metadata": {
            "name": name,
            "namespace": "web",
            "uid": f"uid-{name}",
            "generation": 1,
            "creationTimestamp": f"2026-01-31T07:{number:02}:00Z",
        },
        "spec": {"pipelineRef": {"name": "clicks"}, "eventsPerSecond": 500, **defaults, **spec},
    }


def accepted(**spec: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A pipeline with two sinks, and the record that it was accepted."""
    described = cluster.pipeline(**{"sinks": [cluster.sink(name) for name in SINKS], **spec})
    there = cluster.Cluster(described)
    running = acceptance.decide(there.snapshot(), cluster.SETTINGS).running
    assert running is not None
    return described, config.accepted(running)


class Cluster:
    """One pipeline and its replays. `finish` and the others are what happens to a Job by itself."""

    def __init__(self, *replays: dict[str, Any], with_pipeline: bool = True) -> None:
        self.replays = {one["metadata"]["name"]: one for one in replays}
        self.pipeline: dict[str, Any] | None = None
        self.record: dict[str, Any] | None = None
        if with_pipeline:
            self.pipeline, self.record = accepted()
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.words: dict[str, runs.Report] = {}
        self.rates: dict[str, int] = {}
        self.now = NOW

    def situation(self) -> situation.Situation:
        return situation.Situation(
            namespace="web",
            name="clicks",
            pipeline=self.pipeline,
            accepted=self.record,
            replays=tuple(copy.deepcopy(one) for one in self.replays.values()),
            children=tuple(copy.deepcopy(one) for one in self.objects.values()),
            pods=tuple(self._pods()),
            said=tuple(self._said()),
            now=self.now,
        )

    def jobs(self) -> dict[str, dict[str, Any]]:
        return {name: one for (kind, name), one in self.objects.items() if kind == "Job"}

    def going(self) -> list[str]:
        """Jobs that have a pod."""
        return [name for name, one in self.jobs().items() if not one["spec"]["suspend"] and not situation.is_over(one)]

    def _pods(self) -> list[dict[str, Any]]:
        made = []
        for name, one in self.jobs().items():
            owners = [{"uid": one["metadata"]["uid"]}]
            metadata = {"name": f"{name}-x", "namespace": "web", "ownerReferences": owners, "labels": one["metadata"]["labels"]}
            told: dict[str, Any] = {"phase": "Running", "podIP": "10.0.0.1"}
            if name in self.words:
                terminated = {"message": runs.encode(self.words[name]).decode(), "exitCode": 0}
                told = {"phase": "Succeeded", "containerStatuses": [{"name": "replay", "state": {"terminated": terminated}}]}
            if name in self.words or name in self.going():
                made.append({"metadata": metadata, "status": told})
        return made

    def _said(self) -> list[situation.Said]:
        return [
            situation.Said(
                pod=f"{name}-x",
                address="10.0.0.1:9465",
                report=runs.Report(events_per_second=self.rates.setdefault(name, 500), selected=4, replayed=1),
            )
            for name in self.going()
        ]

    def planned(self) -> list[actions.Action]:
        return plan.plan(self.situation(), cluster.SETTINGS)

    def take(self, action: actions.Action) -> None:
        match action:
            case pipeline_actions.Apply(manifest=manifest):
                json.dumps(manifest)
                key = manifest["kind"], manifest["metadata"]["name"]
                assert not (key[0] == "Job" and key in self.objects), "a Job's template can't change"
                made = copy.deepcopy(manifest)
                made["metadata"]["uid"] = f"{'/'.join(key)}/{manifest['metadata']['ownerReferences'][0]['uid']}"
                self.objects[key] = made
            case pipeline_actions.Delete(kind="DeadLetterReplay", name=name):
                del self.replays[name]
            case pipeline_actions.Delete(kind=kind, name=name):
                del self.objects[kind, name]
                self.words.pop(name, None)
            case actions.Hold(job=job, held=held):
                self.objects["Job", job]["spec"]["suspend"] = held
            case actions.Steer(pod=pod, events_per_second=rate):
                self.rates[pod.removesuffix("-x")] = rate

    def report(self) -> None:
        """Write every status, as a look does at its end."""
        for one in standing.all_of(self.situation()):
            made = status.status(one, (), self.now)
            json.dumps(made)
            self.replays[one.name]["status"] = made

    def look(self) -> None:
        """Plan, act, report."""
        for action in self.planned():
            self.take(action)
        self.report()

    def settle(self) -> None:
        for _ in range(10):
            if not self.planned():
                self.report()
                return
            self.look()
        raise AssertionError([actions.described(one) for one in self.planned()])

    def edit(self, name: str, **spec: Any) -> None:
        self.replays[name]["spec"] |= spec
        self.replays[name]["metadata"]["generation"] += 1

    def end(self, job: str, report: runs.Report, over: str = "Complete") -> None:
        """Its pod ended with this word."""
        self.words[job] = report
        self.objects["Job", job]["status"] = {"conditions": [{"type": over, "status": "True", "reason": "BackoffLimitExceeded"}]}

    def condition(self, name: str, type_: str) -> tuple[str, str]:
        told = self.replays[name]["status"]["conditions"]
        return next((one["status"], one["reason"]) for one in told if one["type"] == type_)

    def message(self, name: str) -> str:
        return str(self.replays[name]["status"]["message"])
