"""Every few minutes, everything is listed: what watches have missed is found, and a watch that has gone deaf is noticed.

A sweep costs one list of each kind, whatever the number of pipelines. Only pipelines of which something differs from what the
last look at them has seen are looked at.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from penstock.api.model import pipeline as api_pipeline
from penstock_operator import names, reconcile, snapshot
from penstock_operator.edge import cluster, watching
from penstock_operator.reporting import status, times

DEAF_SECONDS: Final = 180.0
"""What a list has shown for so long and a watch has not told of, it will never tell of."""
CANARY_SECONDS: Final = 45.0

Seen = frozenset[tuple[str, str, str]]

_log = structlog.get_logger()


def of(live: snapshot.Snapshot) -> Seen:
    """What a look has seen: each object's kind and version."""
    return frozenset((one["kind"], one["metadata"]["uid"], one["metadata"]["resourceVersion"]) for one in _objects(live))


def _version(one: snapshot.Manifest) -> snapshot.Manifest:
    """As much of an object as is compared."""
    return {"kind": one["kind"], "metadata": {key: one["metadata"][key] for key in ("uid", "resourceVersion")}}


def _objects(live: snapshot.Snapshot) -> list[snapshot.Manifest]:
    return [live.pipeline, *live.children, *live.pods]


class Sweeper:
    """`due` is called with each pipeline that needs a look; `seen` has what the last good look at each has seen."""

    def __init__(
        self,
        there: cluster.Cluster,
        namespaces: Sequence[str],
        due: Callable[[reconcile.PipelineRef], None],
        now: Callable[[], datetime.datetime],
    ) -> None:
        self._cluster, self._namespaces, self._due, self._now = there, tuple(namespaces) or ("",), due, now
        self.seen: dict[reconcile.PipelineRef, Seen] = {}

    async def sweep(self) -> set[reconcile.PipelineRef]:
        """All pipelines there are. Raises AwayError and ApiError."""
        pipelines = await self._all(api_pipeline.API_VERSION, "BatchPipeline")
        labelled = {"labelSelector": f"penstock.dev/pipeline,{cluster.NOT_REPLAYS}"}
        grouped: dict[tuple[str, str], list[snapshot.Manifest]] = {}
        for kind in self._cluster.watched():  # one after the other: all at once would be all of a large cluster in memory
            for key, some in cluster.by_pipeline(await self._all(*kind, labelled)).items():
                grouped.setdefault(key, []).extend(_version(one) for one in some)
        found = {}
        for one in pipelines:
            ref = reconcile.PipelineRef(namespace=one["metadata"]["namespace"], name=one["metadata"]["name"])
            belonging = grouped.get((ref.namespace, names.label(ref.name)), [])
            found[ref] = of(snapshot.Snapshot(pipeline=one, children=tuple(belonging)))
            if found[ref] != self.seen.get(ref) or self._needs_a_sign_of_life(one):
                self._due(ref)
        for gone in (self.seen.keys() | self._cluster.claims.known) - found.keys():
            self.seen.pop(gone, None)
            self._due(gone)
        return set(found)

    async def _all(self, api_version: str, kind: str, query: dict[str, str] | None = None) -> list[snapshot.Manifest]:
        listed = await asyncio.gather(*(self._cluster.listed(api_version, kind, where, query) for where in self._namespaces))
        return [one for part in listed for one in part]

    def _needs_a_sign_of_life(self, pipeline: snapshot.Manifest) -> bool:
        then = times.moment((pipeline.get("status") or {}).get("observedAt"))
        return then is None or (self._now() - then).total_seconds() >= status.HEARTBEAT_SECONDS

    async def versions(self) -> dict[reconcile.PipelineRef, str]:
        """The version of each pipeline, as a list has it. Raises AwayError and ApiError."""
        listed = await self._all(api_pipeline.API_VERSION, "BatchPipeline")
        return {
            reconcile.PipelineRef(namespace=one["metadata"]["namespace"], name=one["metadata"]["name"]): str(
                one["metadata"]["resourceVersion"]
            )
            for one in listed
        }


class Canary:
    """Whether the watch of pipelines still tells of what a list shows; `monotonic` is in seconds.

    Nothing happens to a quiet cluster, so silence alone says nothing, and a canary that wrote something to hear of would be
    the only one to write.
    """

    def __init__(self, watches: watching.Watches, monotonic: Callable[[], float]) -> None:
        self._watches, self._monotonic = watches, monotonic
        self._missed: dict[tuple[reconcile.PipelineRef, str | None], float] = {}

    def is_deaf(self, listed: dict[reconcile.PipelineRef, str]) -> bool:
        """Tell it what a list shows now."""
        now, told = self._monotonic(), self._watches.versions
        refs = listed.keys() | told.keys()
        # By what was told last: a pipeline whose status is written each minute has another version in each list.
        differing = {(ref, told.get(ref)) for ref in refs if listed.get(ref) != told.get(ref)}
        self._missed = {one: self._missed.get(one, now) for one in differing}
        return any(now - since >= DEAF_SECONDS for since in self._missed.values())
