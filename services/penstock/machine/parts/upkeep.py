"""What is done regularly: figures are exported, and what nobody needs any more leaves the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from penstock.api.model import log as api_log
from penstock.api.model import pipeline as api_pipeline
from penstock.log import port
from penstock.machine import lanes, letter_counts, opening, retention, retired
from penstock.machine.parts import lane_set
from penstock.telemetry import metrics

_log = structlog.get_logger()

REPORT_SECONDS = 1.0
TRIM_SECONDS = 60.0


async def regularly(seconds: float, chore: Callable[[], Awaitable[None]]) -> None:
    """A chore that fails is tried again in its next turn; it is told once, not at each turn."""
    failing = False
    while True:
        await asyncio.sleep(seconds)
        try:
            await chore()
            failing = False
        except Exception:
            if not failing:
                _log.exception("chore_failed", chore=chore.__name__)
            failing = True


class Upkeep:
    """Of a log and the lanes over it. Where several processes share the log, each trims the partitions that its lane of the
    first sink has, so that every partition is somebody's; `gone`: removed sinks that still hold the log."""

    def __init__(
        self,
        pipeline: api_pipeline.BatchPipeline,
        log: port.EventLog,
        running: lane_set.LaneSet,
        gone: retired.Retired,
        retired_lanes: Sequence[str],
    ) -> None:
        """`retired_lanes`: those of `gone` at the start, whose letters are counted on."""
        self._pipeline, self._event_log, self._running, self._gone = pipeline, log, running, gone
        self._shared = opening.is_shared(pipeline)
        self.letters = letter_counts.LetterCounts(log, pipeline, retired_lanes, self._owned)

    async def report(self) -> None:
        told = self._pipeline.metadata
        await self._running.reports()
        metrics.LOG_BYTES.labels(pipeline=told.name, namespace=told.namespace).set(await self._event_log.size_bytes())

    async def trim(self) -> None:
        """Nothing unread leaves the log, whoever is slow."""
        told = self._retention
        letters_seconds = self._pipeline.spec.dead_letters.retention_hours * 3600.0
        if owned := self._owned():
            await self._gone.expire()
            await self._trim_events(owned)
            await retention.trim_letters(self._event_log, keep_seconds=letters_seconds, partitions=owned, edge=self.letters.edge)
        await retention.trim_replays(
            self._event_log, self._running.groups, keep_seconds=max(told.hours * 3600.0, letters_seconds)
        )

    async def _trim_events(self, owned: Sequence[int]) -> None:
        spec = self._pipeline.spec
        if spec.source.type == "Kafka":
            return  # Its topics are the user's.
        told, size = self._retention, await self._event_log.size_bytes()
        await retention.trim(
            self._event_log,
            [lanes.lane_for(self._pipeline, sink).lane for sink in spec.sinks] + await self._gone.groups(),
            keep_seconds=retention.keep_seconds(told.hours, size, told.max_bytes),
            window_seconds=spec.deduplicate.window_seconds if spec.deduplicate else 0.0,
            stateful=spec.transform.state is not None,
            partitions=owned,
        )

    def _owned(self) -> list[int]:
        if not self._shared:
            return list(range(self._event_log.partitions))
        first = self._pipeline.spec.sinks[0].name
        return self._running[first].accounts.assigned if first in self._running.groups else []

    @property
    def _retention(self) -> api_log.Retention:
        told = self._pipeline.spec.log
        return told.retention if told else api_log.Retention()
