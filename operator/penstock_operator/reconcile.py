"""One look at one pipeline: observe, plan, apply, report. The cluster and the pods are behind two small ports."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from penstock_operator import actions, settings, snapshot
from penstock_operator.planning import plan
from penstock_operator.reporting import events, status


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRef:
    """Which pipeline."""

    namespace: str
    name: str


class RefusedError(Exception):
    """The cluster does not take an action, and would not take it again: `refusal` says why. Other pipelines are none of it."""

    def __init__(self, refusal: snapshot.Refusal) -> None:
        super().__init__(f"{refusal.child}: {refusal.reason}: {refusal.message}")
        self.refusal = refusal


class Cluster(Protocol):
    """The API of the cluster. Whatever raises anything but RefusedError may be tried again, and will be."""

    async def observe(self, pipeline: PipelineRef) -> snapshot.Snapshot | None:
        """All that is known now, from lists and not from memory; None where there is no such pipeline."""

    async def take(self, pipeline: PipelineRef, action: actions.Action) -> None:
        """Do one action. Raises RefusedError."""

    async def write_status(self, pipeline: PipelineRef, uid: str, told: Mapping[str, Any]) -> None:
        """Replace the status of the object with this uid; one that is gone needs none."""

    async def tell(self, pipeline: PipelineRef, uid: str, told: Sequence[events.Event]) -> None:
        """Record Events. One that can't be recorded is no reason to do anything again."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`again`: something was done, so that a look is due when it has had time to work."""

    again: bool
    refusals: tuple[snapshot.Refusal, ...] = ()


async def reconcile(
    pipeline: PipelineRef, cluster: Cluster, told: settings.Settings, now: Callable[[], datetime.datetime]
) -> Outcome:
    """Raises what the cluster raises, when it may be tried again."""
    live = await cluster.observe(pipeline)
    if live is None:
        return Outcome(again=False)
    planned = plan.plan(live, told)
    refusals = await _taken(pipeline, planned, cluster)
    await _report(pipeline, live, cluster, told, snapshot.Observations(now=now(), refusals=refusals))
    return Outcome(again=bool(planned), refusals=refusals)


async def _taken(pipeline: PipelineRef, planned: Sequence[actions.Action], cluster: Cluster) -> tuple[snapshot.Refusal, ...]:
    """All of the plan, but what was refused: a quota on one kind must not keep the others away."""
    refusals = []
    for action in planned:
        try:
            await cluster.take(pipeline, action)
        except RefusedError as error:
            refusals.append(error.refusal)
    return tuple(refusals)


async def _report(
    pipeline: PipelineRef,
    live: snapshot.Snapshot,
    cluster: Cluster,
    told: settings.Settings,
    observations: snapshot.Observations,
) -> None:
    """The status, if it is worth a write, and what an admin wants to hear. Events follow the status: a crash between the two
    loses an Event, not the truth."""
    before = live.pipeline.get("status") or {}
    made = status.status(live, told, observations)
    if made == before:
        return
    uid = str(live.pipeline["metadata"]["uid"])
    await cluster.write_status(pipeline, uid, made)
    if news := events.transitions(before, made):
        await cluster.tell(pipeline, uid, news)
