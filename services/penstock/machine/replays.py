"""Replays of dead letters as they are asked for over the control socket.

The embedded log has one writer, so only the process that runs the pipeline can publish; what would be published can be read
by anybody (penstock.replay.survey).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from penstock.api.model import pipeline as api_pipeline
from penstock.batcher import settings as lane_settings
from penstock.core import selection
from penstock.log import port
from penstock.replay import job, survey
from penstock.v1 import control_pb2


class ReplayDesk:
    """Takes requests for one pipeline over its log. Raises what `penstock.replay.job` raises."""

    def __init__(self, log: port.EventLog, homes: frozenset[str]) -> None:
        """`homes`: the lanes that exist."""
        self._jobs, self._homes = job.Jobs(log), homes

    async def replay(self, request: control_pb2.ReplayRequest) -> AsyncIterator[control_pb2.ReplayProgress]:
        """Each message says all that is known so far; the last one is `finished`."""
        order = survey.Order(
            filters=filters(request.letters), lanes=self._homes, max_replays=request.max_replays or selection.MAX_REPLAYS
        )
        under_way = self._jobs.replay(
            order,
            events_per_second=request.events_per_second or job.EVENTS_PER_SECOND,
            reason=request.reason,
            wait_seconds=request.wait_seconds,
        )
        async with contextlib.aclosing(under_way):
            async for progress in under_way:
                yield progress_message(progress)

    async def discard(self, request: control_pb2.DiscardRequest) -> control_pb2.DiscardResponse:
        order = survey.Order(filters=filters(request.letters), lanes=self._homes)
        return control_pb2.DiscardResponse(discarded=await self._jobs.discard(order, reason=request.reason))


def homes(pipeline: api_pipeline.BatchPipeline) -> frozenset[str]:
    """The lanes a pipeline has: where its letters can go."""
    told = pipeline.metadata
    return frozenset(lane_settings.lane_name(told.namespace, told.name, sink.name) for sink in pipeline.spec.sinks)


def letters_message(wanted: selection.Filters) -> control_pb2.LetterSelection:
    return control_pb2.LetterSelection(
        categories=sorted(wanted.categories),
        sinks=sorted(wanted.sinks),
        expressions=sorted(wanted.expressions),
        fingerprints=sorted(wanted.fingerprints),
        since_microseconds=wanted.since_microseconds,
        until_microseconds=wanted.until_microseconds,
    )


def filters(told: control_pb2.LetterSelection) -> selection.Filters:
    """The inverse of `letters_message`."""
    return selection.Filters(
        categories=_set(told.categories),
        sinks=_set(told.sinks),
        expressions=_set(told.expressions),
        fingerprints=_set(told.fingerprints),
        since_microseconds=told.since_microseconds,
        until_microseconds=told.until_microseconds if told.HasField("until_microseconds") else None,
    )


def progress_message(progress: job.Progress) -> control_pb2.ReplayProgress:
    found = progress.survey
    return control_pb2.ReplayProgress(
        selected=len(found.selected),
        published=progress.published,
        landed=progress.landed,
        failed_again=progress.failed_again,
        replaying=found.replaying,
        quarantined=found.quarantined,
        unsettled=found.unsettled,
        homeless=found.homeless,
        recovered=len(found.unmarked),
        finished=progress.finished,
    )


def _set(values: Sequence[str]) -> frozenset[str]:
    return frozenset(values)
