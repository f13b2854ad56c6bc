"""A renamed sink goes on where it was: what its old name had committed is committed under the new one before its lane starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from penstock.api.model import pipeline as api_pipeline
from penstock.log import port
from penstock.machine import lanes


class _Nobody:
    """Listens to a subscription that never polls."""

    async def on_assigned(self, commits: Mapping[int, port.Commit | None]) -> None: ...

    async def on_revoked(self, partitions: Sequence[int]) -> None: ...


async def carry_over(log: port.EventLog, pipeline: api_pipeline.BatchPipeline) -> None:
    """Copy the commits of sinks with `renamedFrom` that have none of their own yet, all partitions in one step.

    Nothing of an old name may be unread: stores remember what has landed by name, and what they know isn't carried over.
    """
    for sink in pipeline.spec.sinks:
        if not sink.renamed_from:
            continue
        settings = lanes.lane_for(pipeline, sink)
        group, was = settings.lane, dataclasses.replace(settings, sink=sink.renamed_from).lane
        before = await log.committed(port.EVENTS, was)
        if before and not await log.committed(port.EVENTS, group):
            for partition, done in before.items():
                kept = await log.load_snapshot(port.EVENTS, was, partition, done.offset)
                if kept is not None:
                    await log.save_snapshot(port.EVENTS, group, partition, kept)
            await commit(log, group, before)


async def commit(log: port.EventLog, group: str, commits: Mapping[int, port.Commit]) -> None:
    """Commit for a group that nobody reads as."""
    subscription = await log.subscribe(port.EVENTS, group, _Nobody())
    try:
        await subscription.commit(commits)
    finally:
        await subscription.close()
