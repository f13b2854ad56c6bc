"""Lanes of sinks that were removed: for a day they hold the log as if they were still there, then they are dropped.

Their offsets stay for good. So a sink that is added again goes on where it was, or halts with `LogGap` once what it has not
read has left the log; it never begins somewhere else without a word.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping

import structlog

from penstock.api.model import pipeline as api_pipeline
from penstock.batcher import settings as lane_settings
from penstock.core import blocks
from penstock.log import port
from penstock.machine import memory
from penstock.telemetry import metrics
from penstock.v1 import control_pb2

HELD_SECONDS = 24 * 3600.0

_log = structlog.get_logger()

_HEADER_PAGE = 256


class DropRefusedError(Exception):
    """There is no such lane to drop; the message says what there is."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """What a lane has left in the log."""

    blocks: int
    events: int


def left_behind(
    before: api_pipeline.BatchPipeline | None,
    after: api_pipeline.BatchPipeline,
    known: Mapping[str, int],
    now: Callable[[], float] = time.time,
) -> dict[str, int]:
    """Who is retired once `after` takes the place of `before`: the `known` ones and who goes now, without who is back."""
    here = {sink.name for sink in after.spec.sinks}
    renamed = {sink.renamed_from for sink in after.spec.sinks}
    gone = {sink.name for sink in before.spec.sinks} - here - renamed if before else set()
    for sink in sorted(gone - set(known)):
        _log.warning("lane_retired", sink=sink, held_seconds=HELD_SECONDS)
    fresh = dict.fromkeys(sorted(gone), int(now() * 1e6))
    return {sink: since for sink, since in (fresh | dict(known)).items() if sink not in here}


class Retired:
    """The retired lanes of one pipeline. `note` once at the start, before the new object is pinned."""

    def __init__(
        self,
        kept: memory.Memory,
        pipeline: api_pipeline.BatchPipeline,
        log: port.EventLog,
        now: Callable[[], float] = time.time,
        *,
        shared: bool = False,
    ) -> None:
        """`shared`: processes with an older or newer object may run beside this one."""
        self._memory, self._pipeline, self._log, self._now, self._shared = kept, pipeline, log, now, shared

    async def note(self) -> None:
        """Remember who has gone since the last start, and forget who is back. Raises DirectoryError."""
        known = await self._memory.retired()
        await self._memory.retire(left_behind(await self._memory.pinned(), self._pipeline, known, self._now))

    async def groups(self) -> list[str]:
        """The lanes that still hold the log, beside those of the pipeline itself."""
        held = dict.fromkeys(await self._memory.retired())
        if self._shared and (accepted := await self._memory.pinned()):
            here = {sink.name for sink in self._pipeline.spec.sinks}
            held |= dict.fromkeys(sink.name for sink in accepted.spec.sinks if sink.name not in here)
        return [self._lane(sink) for sink in held]

    def _lane(self, sink: str) -> str:
        told = self._pipeline.metadata
        return lane_settings.lane_name(told.namespace, told.name, sink)

    async def report(self) -> list[control_pb2.RetiredLane]:
        """Each of them with what it has not read."""
        return [await self._described(sink, since) for sink, since in (await self._memory.retired()).items()]

    async def _described(self, sink: str, since: int) -> control_pb2.RetiredLane:
        left = await unread(self._log, self._lane(sink))
        return control_pb2.RetiredLane(sink=sink, since_microseconds=since, blocks=left.blocks, events=left.events)

    async def expire(self) -> None:
        """Drop those that have been held long enough."""
        for sink, since in (await self._memory.retired()).items():
            if self._now() - since / 1e6 >= HELD_SECONDS:
                await self.drop(sink, confirmed=True)

    async def drop(self, sink: str, *, confirmed: bool) -> control_pb2.DropLaneResponse:
        """Hold nothing back for this sink any more. Raises DropRefusedError, LogError."""
        known = await self._memory.retired()
        if sink not in known:
            raise DropRefusedError(self._why_not(sink, list(known)))
        described = await self._described(sink, known[sink])
        if confirmed:
            await self._memory.retire({name: since for name, since in known.items() if name != sink})
            told = self._pipeline.metadata
            metrics.DROPPED_EVENTS.labels(pipeline=told.name, namespace=told.namespace, sink=sink).inc(described.events)
            _log.warning("lane_dropped", sink=sink, blocks=described.blocks, events=described.events)
        return control_pb2.DropLaneResponse(lane=described, done=confirmed)

    def _why_not(self, sink: str, known: list[str]) -> str:
        if sink in {one.name for one in self._pipeline.spec.sinks}:
            return f'"{sink}" is a sink of the pipeline: remove it from spec.sinks and start again before its lane is dropped'
        return f'no lane "{sink}" is left over; there are: {", ".join(known) or "none"}'


async def unread(log: port.EventLog, group: str) -> Unread:
    """What the group has not finished, by the headers of the blocks."""
    commits = await log.committed(port.EVENTS, group)
    found = events = 0
    for partition in range(log.partitions):
        bounds = await log.bounds(port.EVENTS, partition)
        commit = commits.get(partition)
        first = max(bounds.start, commit.offset if commit else bounds.start)
        found += bounds.end - first
        before = bounds.end
        while before > first:
            page = await log.headers(port.EVENTS, partition, before, limit=_HEADER_PAGE)
            events += sum(blocks.told_rows(record.headers) for record in page if record.offset >= first)
            before = page[-1].offset if page else first
    return Unread(blocks=found, events=events)
