"""Replays of dead letters as they are asked for over the control socket.

The embedded log has one writer, so only the process that runs the pipeline can publish; what would be published can be read
by anybody (penstock.replay.survey).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from penstock.api.model import pipeline as api_pipeline
from penstock.batcher import settings as lane_settings
from penstock.core import failpoints, selection
from penstock.log import port
from penstock.replay import job, survey, watch
from penstock.v1 import control_pb2


class ReplayDesk:
    """Takes requests for one pipeline over its log. Raises what `penstock.replay.job` raises."""

    def __init__(
        self, log: port.EventLog, pipeline: api_pipeline.BatchPipeline, failpoint: failpoints.Failpoint = failpoints.nothing
    ) -> None:
        self._jobs, self._pipeline = job.Jobs(log, failpoint=failpoint), pipeline

    async def replay(self, request: control_pb2.ReplayRequest) -> AsyncIterator[control_pb2.ReplayProgress]:
        """Each message says all that is known so far; the last one is `finished`."""
        wanted = order(self._pipeline, filters(request.letters), request.max_replays or selection.MAX_REPLAYS)
        under_way = self._jobs.replay(
            wanted,
            events_per_second=request.events_per_second or job.EVENTS_PER_SECOND,
            reason=request.reason,
            wait_seconds=request.wait_seconds,
            suspend=watch.SuspendOnFailure(
                percent=request.suspend_percent or watch.SuspendOnFailure().percent,
                minimum=request.suspend_minimum_events or watch.SuspendOnFailure().minimum,
            ),
        )
        async with contextlib.aclosing(under_way):
            async for progress in under_way:
                yield progress_message(progress)

    async def discard(self, request: control_pb2.DiscardRequest) -> control_pb2.DiscardResponse:
        wanted = order(self._pipeline, filters(request.letters))
        return control_pb2.DiscardResponse(discarded=await self._jobs.discard(wanted, reason=request.reason))


def order(
    pipeline: api_pipeline.BatchPipeline, wanted: selection.Filters, max_replays: int = selection.MAX_REPLAYS
) -> survey.Order:
    """What is asked of a pipeline; its lanes are where letters can go, also those written under a sink's old name."""

    def lane(sink: str) -> str:
        return lane_settings.lane_name(pipeline.metadata.namespace, pipeline.metadata.name, sink)

    sinks = pipeline.spec.sinks
    lanes = frozenset(lane(sink.name) for sink in sinks)
    renamed = {lane(sink.renamed_from): lane(sink.name) for sink in sinks if sink.renamed_from}
    return survey.Order(
        filters=wanted,
        lanes=lanes,
        max_replays=max_replays,
        renamed={was: now for was, now in renamed.items() if was not in lanes},
    )


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
        suspended=progress.suspended,
    )


def _set(values: Sequence[str]) -> frozenset[str]:
    return frozenset(values)
