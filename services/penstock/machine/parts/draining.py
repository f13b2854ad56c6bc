"""Lanes that a pipeline's lifecycle has told to come to the end of the log, and to say when they are there.

They go on: what comes in after all is landed too, and partitions of another process may come with unread blocks.
"""

from __future__ import annotations

import asyncio

import structlog

from penstock.batcher import lane as batcher_lane
from penstock.log import port

_LOOK_SECONDS = 1.0
_ROUND_SECONDS = 30.0

_log = structlog.get_logger()


class Draining:
    """Any number of lanes; `end` each before it is stopped."""

    def __init__(self) -> None:
        self._tasks: dict[batcher_lane.Lane, asyncio.Task[None]] = {}

    def begin(self, lane: batcher_lane.Lane) -> None:
        self._tasks[lane] = asyncio.create_task(_drain(lane), name=f"drain-{lane.settings.sink}")

    def lifecycle(self, lane: batcher_lane.Lane) -> str:
        """What a lane that is to go on as it is must be told."""
        paused = lane.state is batcher_lane.State.PAUSED
        return "Draining" if lane in self._tasks else "Paused" if paused else "Running"

    def end(self, lane: batcher_lane.Lane) -> None:
        """Nothing happens to one that was not told to drain."""
        if task := self._tasks.pop(lane, None):
            task.cancel()


async def _drain(lane: batcher_lane.Lane) -> None:
    while True:
        try:
            await lane.drain(_ROUND_SECONDS, look_seconds=_LOOK_SECONDS)
        except (port.LogUnavailableError, port.PartitionLostError) as error:
            _log.warning("drain_waits", sink=lane.settings.sink, error=str(error))
        await asyncio.sleep(_LOOK_SECONDS)
