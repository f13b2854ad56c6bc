"""Events for people: one object for each pipeline and reason, on which repetitions are counted, and never a flood of them."""

from __future__ import annotations

import collections
import datetime
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from penstock.api.model import pipeline as api_pipeline
from penstock_operator import reconcile
from penstock_operator.edge import api
from penstock_operator.reporting import events

_VERSION: Final = "events.k8s.io/v1"
_CONTROLLER: Final = "penstock.dev/operator"
_MOST_NOTE_CHARACTERS: Final = 1000
_MOST_COUNTS: Final = 4096
_BURST: Final = 20
_PER_SECOND: Final = 0.1

_log = structlog.get_logger()


class Recorder:
    """`monotonic` in seconds; `instance` is this pod's name. Beyond a burst, a pipeline gets six Events a minute."""

    def __init__(
        self, connection: api.Api, instance: str, now: Callable[[], datetime.datetime], monotonic: Callable[[], float]
    ) -> None:
        self._api, self._instance, self._now, self._monotonic = connection, instance, now, monotonic
        self._counts: collections.OrderedDict[str, int] = collections.OrderedDict()
        self._allowance: collections.OrderedDict[str, tuple[float, float]] = collections.OrderedDict()

    async def record(
        self, pipeline: reconcile.PipelineRef, uid: str, told: Sequence[events.Event], kind: str = "BatchPipeline"
    ) -> None:
        """What can't be recorded is logged, and forgotten: an Event is no reason to do anything again. `pipeline` and `uid` are
        those of the object that it is about, of whatever kind."""
        for event in told:
            if not self._may(uid):
                _log.warning("event_left_out", namespace=pipeline.namespace, pipeline=pipeline.name, reason=event.reason)
                continue
            try:
                await self._one(pipeline, uid, event, kind)
            except (api.ApiError, api.AwayError) as error:
                _log.warning("event_not_recorded", pipeline=pipeline.name, reason=event.reason, error=str(error))

    async def _one(self, pipeline: reconcile.PipelineRef, uid: str, event: events.Event, kind: str) -> None:
        made = self._manifest(pipeline, uid, event, kind)
        name = made["metadata"]["name"]
        try:
            await self._api.call("POST", api.place(_VERSION, "Event", pipeline.namespace), body=made)
            self._remember(name, 1)
        except api.ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            count = self._counts.get(name, 1) + 1
            series = {"series": {"count": count, "lastObservedTime": made["eventTime"]}}
            place = api.place(_VERSION, "Event", pipeline.namespace, name)
            await self._api.call("PATCH", place, body=series, content=api.MERGE)
            self._remember(name, count)

    def _remember(self, name: str, count: int) -> None:
        self._counts[name] = count
        self._counts.move_to_end(name)
        if len(self._counts) > _MOST_COUNTS:
            self._counts.popitem(last=False)

    def _may(self, uid: str) -> bool:
        now = self._monotonic()
        left, then = self._allowance.get(uid, (float(_BURST), now))
        left = min(float(_BURST), left + (now - then) * _PER_SECOND)
        self._allowance[uid] = max(0.0, left - 1), now
        self._allowance.move_to_end(uid)
        if len(self._allowance) > _MOST_COUNTS:
            self._allowance.popitem(last=False)
        return left >= 1

    def _manifest(self, pipeline: reconcile.PipelineRef, uid: str, event: events.Event, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(f"{uid}/{event.reason}".encode()).hexdigest()[:16]
        return {
            "apiVersion": _VERSION,
            "kind": "Event",
            "metadata": {"name": f"{pipeline.name[:200].rstrip('-.')}.{digest}", "namespace": pipeline.namespace},
            "eventTime": self._now().astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": event.type,
            "reason": event.reason[:128],
            "note": event.message[:_MOST_NOTE_CHARACTERS] or event.reason,
            "action": "Reconcile",
            "reportingController": _CONTROLLER,
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": api_pipeline.API_VERSION,
                "kind": kind,
                "namespace": pipeline.namespace,
                "name": pipeline.name,
                "uid": uid,
            },
        }
