"""DeadLetterReplays over the real API: a queue of their own, one look at all replays of a pipeline at a time.

A look lists, plans, acts and reports, as for pipelines. While a Job runs it comes every few seconds, because its pod is asked
then; replays at rest are looked at when something happens to them and when everything is swept.
"""

from __future__ import annotations

import asyncio
import datetime
import random
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from penstock.api.model import pipeline as api_pipeline
from penstock_operator import actions as pipeline_actions
from penstock_operator import names, queue, reconcile, settings, snapshot
from penstock_operator.edge import api, cluster, recorder, replay_asking
from penstock_operator.replaying import actions, plan, situation, standing, status
from penstock_operator.resources import identity

WATCHED: Final = (situation.JOB,)
"""Kinds that a replay is made of and a pipeline is not."""
_BUSY_SECONDS: Final = 5.0
_FIRST_SWEEP_SECONDS: Final = 5.0
_LONGEST_TIMER_SECONDS: Final = 86_400.0
_OBJECT: Final = (api_pipeline.API_VERSION, situation.KIND)

_log = structlog.get_logger()

Ref = reconcile.PipelineRef


class Replays:
    """`run` once. `heard` and `heard_pipeline` may be called at any time, in its loop."""

    def __init__(
        self,
        connection: api.Api,
        there: cluster.Cluster,
        asker: replay_asking.ReplayAsker,
        told: settings.Settings,
        made: recorder.Recorder,
        now: Callable[[], datetime.datetime],
    ) -> None:
        self._api, self._cluster, self._asker, self._told = connection, there, asker, told
        self._recorder, self._now = made, now
        self._queue: queue.KeyedQueue[Ref] = queue.KeyedQueue(random.random)
        self._known: set[Ref] = set()
        self._timers: dict[Ref, asyncio.TimerHandle] = {}

    def heard(self, ref: Ref, urgent: bool) -> None:
        """Something happened to what was made for a replay of this pipeline, or, urgent, to the object itself."""
        self._known.add(ref)
        self._queue.add(ref, at_once=urgent)

    def heard_pipeline(self, ref: Ref) -> None:
        """Something happened to the pipeline."""
        if ref in self._known:
            self._queue.add(ref)

    async def run(self) -> None:
        """Until it is cancelled."""
        working = [asyncio.create_task(self._work()), asyncio.create_task(self._sweeps())]
        try:
            await asyncio.gather(*working)
        finally:
            for one in working:
                one.cancel()
            for timer in self._timers.values():
                timer.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            self._queue.close()

    async def _work(self) -> None:
        while True:
            ref = await self._queue.get()
            failed = True
            try:
                failed = not await self._look(ref)
            except (api.ApiError, api.AwayError) as error:
                _log.warning("replays_look_failed", namespace=ref.namespace, pipeline=ref.name, error=str(error))
            except Exception:
                _log.exception("replays_look_failed_unexpectedly", namespace=ref.namespace, pipeline=ref.name)
            finally:
                self._queue.done(ref, failed=failed)

    async def _sweeps(self) -> None:
        """What watches have missed, and what the operator has not seen while it was away."""
        wait = _FIRST_SWEEP_SECONDS
        while True:
            await asyncio.sleep(wait)
            try:
                for namespace in self._told.namespaces or ("",):
                    for one in await self._cluster.listed(*_OBJECT, namespace):
                        if _is_at_rest(one):
                            continue
                        name = str(one["spec"]["pipelineRef"]["name"])
                        self.heard(Ref(namespace=one["metadata"]["namespace"], name=name), urgent=False)
                wait = self._told.resync_seconds * random.uniform(0.8, 1.2)  # noqa: S311 - a wait
            except (api.ApiError, api.AwayError) as error:
                _log.warning("replays_sweep_failed", error=str(error))
                wait = _FIRST_SWEEP_SECONDS

    async def _look(self, ref: Ref) -> bool:
        """Whether nothing was refused."""
        here = await self._observe(ref)
        if not here.replays:
            self._known.discard(ref)
            return True
        refusals = await self._taken(ref, plan.plan(here, self._told))
        found = standing.all_of(here)
        waits = [_BUSY_SECONDS for one in found if one.state is standing.State.GOING]
        for one in found:
            told = await self._report(one, [refusal for refusal in refusals if _is_about(refusal, one)])
            if (left := plan.seconds_left({**one.replay, "status": told}, here.now)) is not None:
                waits.append(max(1.0, left))
        self._later(ref, waits)
        return not refusals

    async def _observe(self, ref: Ref) -> situation.Situation:
        labels = f"{identity.PIPELINE_LABEL}={names.label(ref.name)},{identity.ROLE_LABEL}={situation.ROLE}"
        pipelines, records, replays, pods, *children = await asyncio.gather(
            self._one(api_pipeline.API_VERSION, "BatchPipeline", ref.namespace, ref.name),
            self._one("v1", "ConfigMap", ref.namespace, names.accepted(ref.name)),
            self._cluster.listed(*_OBJECT, ref.namespace),
            self._cluster.listed(*cluster.POD, ref.namespace, {"labelSelector": labels}),
            *(self._cluster.listed(*kind, ref.namespace, {"labelSelector": labels}) for kind in situation.CHILDREN),
        )
        return situation.Situation(
            namespace=ref.namespace,
            name=ref.name,
            pipeline=next(iter(pipelines), None),
            accepted=next(iter(records), None),
            replays=tuple(one for one in replays if one["spec"]["pipelineRef"]["name"] == ref.name),
            children=tuple(one for kind in children for one in kind),
            pods=tuple(pods),
            said=await self._asker.said(ref, pods),
            now=self._now(),
        )

    async def _one(self, api_version: str, kind: str, namespace: str, name: str) -> list[snapshot.Manifest]:
        """A list of one, which needs no right but that to list."""
        return await self._cluster.listed(api_version, kind, namespace, {"fieldSelector": f"metadata.name={name}"})

    async def _taken(self, ref: Ref, planned: Sequence[actions.Action]) -> list[snapshot.Refusal]:
        refused = []
        for action in planned:
            _log.info("replays_act", namespace=ref.namespace, pipeline=ref.name, action=actions.described(action))
            try:
                await self._take(ref, action)
            except reconcile.RefusedError as error:
                _log.warning("refused", namespace=ref.namespace, child=error.refusal.child, reason=error.refusal.reason)
                refused.append(error.refusal)
        return refused

    async def _take(self, ref: Ref, action: actions.Action) -> None:
        match action:
            case pipeline_actions.Apply() | pipeline_actions.Delete():
                await self._cluster.take(ref, action)
            case actions.Hold():
                await self._hold(ref, action)
            case actions.Steer():
                await self._asker.steer(ref, action)

    async def _hold(self, ref: Ref, action: actions.Hold) -> None:
        body = {"metadata": {"uid": action.uid}, "spec": {"suspend": action.held}}
        place = api.place(*situation.JOB, ref.namespace, action.job)
        try:
            await self._api.call("PATCH", place, query={"fieldManager": cluster.MANAGER}, body=body, content=api.MERGE)
        except api.ApiError as error:
            if error.status not in (404, 409):  # gone, or another one of the same name by now
                raise

    async def _report(self, one: standing.Standing, refusals: Sequence[snapshot.Refusal]) -> snapshot.Manifest:
        """The status as it is now."""
        before = one.replay.get("status") or {}
        made = status.status(one, refusals, self._now())
        if made == before:
            return made
        metadata = one.replay["metadata"]
        body = {
            "apiVersion": _OBJECT[0],
            "kind": situation.KIND,
            "metadata": {key: metadata[key] for key in ("name", "namespace", "uid")},
            "status": made,
        }
        query = {"fieldManager": cluster.MANAGER, "fieldValidation": "Strict", "force": "true"}
        place = f"{api.place(*_OBJECT, metadata['namespace'], metadata['name'])}/status"
        try:
            await self._api.call("PATCH", place, query=query, body=body, content=api.APPLY)
        except api.ApiError as error:
            if error.status not in (404, 409):  # gone, or another one of the same name by now
                raise
            return made
        if news := status.transitions(before, made):
            about = Ref(namespace=metadata["namespace"], name=metadata["name"])
            await self._recorder.record(about, metadata["uid"], news, situation.KIND)
        return made

    def _later(self, ref: Ref, waits: Sequence[float]) -> None:
        """Look again while a Job runs, and when an object's time is up."""
        if timer := self._timers.pop(ref, None):
            timer.cancel()
        if waits:
            wait = min(_LONGEST_TIMER_SECONDS, *waits)
            self._timers[ref] = asyncio.get_running_loop().call_later(wait, self._queue.add, ref)


def _is_at_rest(replay: snapshot.Manifest) -> bool:
    """Whether it has ended for good, and all is told of it."""
    told = (replay.get("status") or {}).get("observedGeneration") == replay["metadata"].get("generation")
    done = situation.conditions(replay).get("Complete", {}).get("status") == "True"
    return told and done and "ttlSecondsAfterFinished" not in replay["spec"]


def _is_about(refusal: snapshot.Refusal, one: standing.Standing) -> bool:
    """Whether what was refused is of this replay."""
    mine = {situation.job_name(one.replay), *(names.replay(one.name, what) for what in ("file", "pods"))}
    return refusal.child.rpartition(" ")[2] in mine
