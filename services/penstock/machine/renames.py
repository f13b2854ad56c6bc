"""A renamed sink goes on where it was: what its old name had committed is committed under the new one before its lane starts."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping

from penstock.api.model import pipeline as api_pipeline
from penstock.log import port
from penstock.machine import lanes, opening


class RenameWaitsError(Exception):
    """The old name's lane has to end first; the message says what of it is left."""


async def carry_over(log: port.EventLog, pipeline: api_pipeline.BatchPipeline) -> None:
    """Copy the commits of sinks with `renamedFrom` that have none of their own yet, all partitions in one step.

    Nothing of an old name may be unread: stores remember what has landed by name, and what they know isn't carried over. One
    process alone has had that looked at with the edit; of several, each looks here, and raises RenameWaitsError.
    """
    for sink in pipeline.spec.sinks:
        if not sink.renamed_from:
            continue
        settings = lanes.lane_for(pipeline, sink)
        group, was = settings.lane, dataclasses.replace(settings, sink=sink.renamed_from).lane
        before = await log.committed(port.EVENTS, was)
        if not before or await log.committed(port.EVENTS, group):
            continue
        if opening.is_shared(pipeline):
            await _check_ended(log, was, before, f"sink {sink.name} was {sink.renamed_from} until now")
        for partition, done in before.items():
            kept = await log.load_snapshot(port.EVENTS, was, partition, done.offset)
            if kept is not None:
                await log.save_snapshot(port.EVENTS, group, partition, kept)
        # Another process of the new name that was faster has carried the same over, and may have gone on since.
        with contextlib.suppress(port.GroupInUseError):
            await log.commit_for(port.EVENTS, group, before)


async def _check_ended(log: port.EventLog, was: str, commits: Mapping[int, port.Commit], subject: str) -> None:
    try:
        # The same once more: what only a group without members can be told.
        await log.commit_for(port.EVENTS, was, commits)
    except port.GroupInUseError as error:
        raise RenameWaitsError(f"{subject}, and processes of the old name still run: end them first") from error
    unread = 0
    for partition in range(log.partitions):
        bounds, done = await log.bounds(port.EVENTS, partition), commits.get(partition)
        unread += bounds.end - (done.offset if done else bounds.start)
    if unread:
        raise RenameWaitsError(
            f"{subject}, and {unread} blocks are unread under the old name: give it back, drain (spec.lifecycle: Draining),"
            " and rename then"
        )
