"""Replays of dead letters as they are asked for over the control socket.

The embedded log has one writer, so only the process that runs the pipeline can publish; what would be published can be read
by anybody (penstock.replay.survey).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import replay as api_replay
from penstock.batcher import settings as lane_settings
from penstock.core import failpoints, letter_condition, selection
from penstock.log import port
from penstock.machine import secrets, strays
from penstock.replay import job, survey, watch
from penstock.replay import strays as replay_strays
from penstock.v1 import control_pb2


class ReplayDesk:
    """Takes requests for one pipeline over its log. Raises what `penstock.replay.job` raises, and StraysError."""

    def __init__(
        self,
        log: port.EventLog,
        pipeline: api_pipeline.BatchPipeline,
        secret_store: secrets.SecretStore,
        failpoint: failpoints.Failpoint = failpoints.nothing,
    ) -> None:
        self._jobs, self._log, self._pipeline, self._secrets = job.Jobs(log, failpoint=failpoint), log, pipeline, secret_store

    async def replay(self, request: control_pb2.ReplayRequest) -> AsyncIterator[control_pb2.ReplayProgress]:
        """Each message says all that is known so far; the last one is `finished`."""
        suspend = watch.SuspendOnFailure(
            percent=request.suspend_percent or watch.SuspendOnFailure().percent,
            minimum=request.suspend_minimum_events or watch.SuspendOnFailure().minimum,
        )
        async with self._order(request.letters, request.max_replays or selection.MAX_REPLAYS) as wanted:
            under_way = self._jobs.replay(
                wanted,
                pace=job.Pace(events_per_second=request.events_per_second or job.EVENTS_PER_SECOND),
                reason=request.reason,
                wait_seconds=request.wait_seconds,
                suspend=suspend,
            )
            async with contextlib.aclosing(under_way):
                async for progress in under_way:
                    yield progress_message(progress)

    async def discard(self, request: control_pb2.DiscardRequest) -> control_pb2.DiscardResponse:
        async with self._order(request.letters) as wanted:
            return control_pb2.DiscardResponse(discarded=await self._jobs.discard(wanted, reason=request.reason))

    @contextlib.asynccontextmanager
    async def _order(
        self, told: control_pb2.LetterSelection, max_replays: int = selection.MAX_REPLAYS
    ) -> AsyncIterator[survey.Order]:
        wanted = filters(told)
        if not told.kafka_topic:
            yield order(self._pipeline, wanted, max_replays)
            return
        topic = api_replay.KafkaTopic.model_validate_json(told.kafka_topic)
        async with strays.opened(self._pipeline, self._log, topic, wanted.sinks, self._secrets) as others:
            yield order(self._pipeline, wanted, max_replays, others)


def order(
    pipeline: api_pipeline.BatchPipeline,
    wanted: selection.Filters,
    max_replays: int = selection.MAX_REPLAYS,
    others: replay_strays.Strays | None = None,
    run: str = "",
) -> survey.Order:
    """What is asked of a pipeline; its lanes are where letters can go, also those written under a sink's old name."""

    def lane(sink: str) -> str:
        return lane_settings.lane_name(pipeline.metadata.namespace, pipeline.metadata.name, sink)

    sinks = pipeline.spec.sinks
    lanes = frozenset(lane(sink.name) for sink in sinks)
    renamed = {lane(sink.renamed_from): lane(sink.name) for sink in sinks if sink.renamed_from}
    return survey.Order(
        filters=wanted,
        lanes=frozenset({others.home.lane}) if others else lanes,
        max_replays=max_replays,
        others=others,
        run=run,
        renamed={was: now for was, now in renamed.items() if was not in lanes},
    )


def letters_message(wanted: selection.Filters, topic: api_replay.KafkaTopic | None = None) -> control_pb2.LetterSelection:
    return control_pb2.LetterSelection(
        categories=sorted(wanted.categories),
        sinks=sorted(wanted.sinks),
        expressions=sorted(wanted.expressions),
        fingerprints=sorted(wanted.fingerprints),
        since_microseconds=wanted.since_microseconds,
        until_microseconds=wanted.until_microseconds,
        kafka_topic=topic.model_dump_json(by_alias=True, exclude_none=True) if topic else "",
        where=wanted.where.sql if wanted.where else "",
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
        where=letter_condition.Condition(told.where) if told.where else None,
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
        unreadable=found.unreadable,
    )


def _set(values: Sequence[str]) -> frozenset[str]:
    return frozenset(values)
