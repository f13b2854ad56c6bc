"""What has become of each lane's dead letters, as its status and its gauges show it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from penstock.api.model import pipeline as api_pipeline
from penstock.batcher import settings as lane_settings
from penstock.core import deadletters, selection
from penstock.log import port
from penstock.machine import replays
from penstock.replay import counting
from penstock.telemetry import metrics
from penstock.v1 import control_pb2

SAVE_SECONDS = 10.0
COUNT_SECONDS = 1.0
_COUNTED_AT_ONCE = 1_000
"""Records of a partition that a status may have to wait for; what is left of a long topic is counted by the chore."""


class LetterCounts:
    """Of one pipeline's lanes over its log, in the partitions that are this process's. `count` and `save` are chores."""

    def __init__(
        self,
        log: port.EventLog,
        pipeline: api_pipeline.BatchPipeline,
        retired: Sequence[str],
        owned: Callable[[], Iterable[int]],
    ) -> None:
        """`retired` are lanes of removed sinks that may come back; `owned`: the partitions."""
        told = replays.order(pipeline, selection.Filters())
        self._pipeline, self._owned = pipeline, owned
        self._counts = counting.LetterCounts(
            log,
            [*told.lanes, *retired],
            keep_seconds=pipeline.spec.dead_letters.retention_hours * 3600.0,
            renamed=told.renamed,
        )
        self.edge = self._counts.edge
        self.save = self._counts.save

    async def count(self) -> None:
        """Count what is new, and export it. Raises LogError."""
        await self._counts.look(self._owned())
        for sink in self._pipeline.spec.sinks:
            _export(self._labels(sink.name), self._of(sink.name))

    async def add_to(self, statuses: Iterable[control_pb2.LaneStatus]) -> None:
        """Fill in what is known; a log that can't be read just now leaves what was counted before."""
        with contextlib.suppress(port.LogError):
            await self._counts.look(self._owned(), _COUNTED_AT_ONCE)
        for status in statuses:
            status.dead_letters.CopyFrom(_message(self._of(status.sink)))

    def _of(self, sink: str) -> counting.Standing:
        told = self._pipeline.metadata
        return self._counts.of(lane_settings.lane_name(told.namespace, told.name, sink))

    def _labels(self, sink: str) -> dict[str, str]:
        told = self._pipeline.metadata
        return {"pipeline": told.name, "namespace": told.namespace, "sink": sink}


def _message(standing: counting.Standing) -> control_pb2.DeadLetters:
    return control_pb2.DeadLetters(
        outstanding=standing.outstanding,
        replayed=standing.replayed,
        expired=standing.expired,
        by_category=standing.by_category,
        discarded=standing.discarded,
    )


def _export(labels: Mapping[str, str], standing: counting.Standing) -> None:
    """Categories without letters are zero, not absent."""
    for category in deadletters.Category:
        waiting = standing.by_category.get(category.value, 0)
        metrics.DEAD_LETTERS_OUTSTANDING.labels(**labels, category=category.value).set(waiting)
    metrics.DEAD_LETTERS_EXPIRED.labels(**labels).set(standing.expired)
