"""Gathering requests into blocks, and answering each when all of its events are durable.

A block closes at a number of rows or bytes, or when its first request has waited the linger. It closes at once (`idle`)
when waiting would gain nothing: no block is under way, and either no request came for a whole linger before this one, or the
last block gathered just one. A lone caller, also one that waits for each answer, is thus served without delay, while a
steady stream is gathered. A block whose linger is over while others are still being composed goes on gathering until they are
done: it would only wait behind them, and a larger one costs less.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from concurrent import futures

import structlog

from penstock.ingest import compose, instruments, partition
from penstock.ingest import settings as ingest_settings
from penstock.ingest import submission as submissions
from penstock.log import port

_LONGEST_LINGER_SECONDS = 0.1
_RETRY_SECONDS = 1.0
_logger = structlog.get_logger(__name__)

_Future = asyncio.Future[submissions.Outcome]


@dataclasses.dataclass(frozen=True, slots=True)
class _Pending:
    submission: submissions.Submission
    answer: _Future


class BlockBuilder:
    """Used from one event loop. `add` until `drain`; nothing after."""

    def __init__(
        self,
        settings: ingest_settings.IngestSettings,
        log: port.EventLog,
        executor: futures.Executor,
        measured: instruments.Instruments,
        new_producer: Callable[[], str],
    ) -> None:
        self._composer = compose.Composer(settings, log.partitions)
        self._writers = [partition.PartitionWriter(log, number, new_producer) for number in range(log.partitions)]
        self._turns = itertools.cycle(self._writers)
        self._executor = executor
        self._measured = measured
        self._failpoint = settings.failpoint
        self._append_timeout_seconds = settings.append_timeout_seconds
        # Splitting by key makes as many small blocks of one group as there are partitions, so the group may be larger.
        spread = log.partitions if settings.key else 1
        self._most_rows = settings.block_rows * spread
        self._most_bytes = min(settings.block_bytes * spread, settings.max_in_flight_bytes // 2)
        self._linger_seconds = max(settings.linger_seconds, min(settings.linger_seconds * spread, _LONGEST_LINGER_SECONDS))
        self._open: list[_Pending] = []
        self._rows = self._bytes = 0
        self._timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._composing = 0
        self._overdue = False
        self._last_arrival = float("-inf")
        self._last_gathered = 1

    def add(self, submission: submissions.Submission) -> _Future:
        """The answer, set when all of the request's events are durable or their fate is known to be unknown."""
        loop = asyncio.get_running_loop()
        pending = _Pending(submission, loop.create_future())
        self._open.append(pending)
        self._rows += submission.likely_events()
        self._bytes += submission.size_bytes
        if self._rows >= self._most_rows:
            self._close("rows")
        elif self._bytes >= self._most_bytes:
            self._close("bytes")
        elif self._timer is None:
            self._timer = self._later(loop)
        self._last_arrival = loop.time()
        return pending.answer

    async def drain(self) -> None:
        """Close the open block and wait for the answers of all that was added."""
        if self._open:
            self._close("drain")
        while self._under_way:
            await asyncio.wait(self._under_way)

    def _later(self, loop: asyncio.AbstractEventLoop) -> asyncio.Handle:
        quiet = loop.time() - self._last_arrival >= self._linger_seconds
        if not self._under_way and (quiet or self._last_gathered == 1):
            # Not at this very moment: requests that arrived in the same turn of the loop join.
            return loop.call_soon(self._close, "idle")
        return loop.call_later(self._linger_seconds, self._linger_is_over)

    def _linger_is_over(self) -> None:
        if self._composing:
            self._overdue = True
        else:
            self._close("linger")

    def _close(self, reason: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
        group, self._open, self._timer = self._open, [], None
        self._rows = self._bytes = 0
        self._overdue = False
        self._last_gathered = len(group)
        self._measured.closed(reason)
        self._under_way.add(asyncio.create_task(self._finish(group)))

    async def _finish(self, group: Sequence[_Pending]) -> None:
        try:
            outcomes = await self._outcomes([pending.submission for pending in group])
        except Exception as error:  # a fault of our own must not leave callers waiting
            _logger.exception("block_failed", requests=len(group))
            outcomes = [_unknown(f"internal error: {type(error).__name__}")] * len(group)
        # Before the answers: a caller that sends its next request at once must find nothing under way.
        self._under_way.discard(asyncio.current_task())
        for pending, outcome in zip(group, outcomes, strict=True):
            if not pending.answer.done():
                pending.answer.set_result(outcome)

    async def _outcomes(self, group: Sequence[submissions.Submission]) -> Sequence[submissions.Outcome]:
        loop = asyncio.get_running_loop()
        composed = await self._composed(group)
        self._measured.composed(composed)
        self._failpoint("ingest.composed")
        writers = [next(self._turns) if block.partition is None else self._writers[block.partition] for block in composed.blocks]
        deadline = loop.time() + self._append_timeout_seconds
        appends = [writer.append(block, deadline) for writer, block in zip(writers, composed.blocks, strict=True)]
        results = await asyncio.gather(*appends, return_exceptions=True)
        self._failpoint("ingest.appended")
        fates: dict[int, list[BaseException | None]] = {}
        for block, result in zip(composed.blocks, results, strict=True):
            for request in block.requests:
                fates.setdefault(request, []).append(result)
        return [_outcome(answer, fates.get(place, [])) for place, answer in enumerate(composed.answers)]

    async def _composed(self, group: Sequence[submissions.Submission]) -> compose.Composed:
        self._composing += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._composer.compose, group)
        finally:
            self._composing -= 1
            if self._overdue and not self._composing:
                self._close("linger")


def _outcome(answer: compose.Answer, fates: Sequence[BaseException | None]) -> submissions.Outcome:
    """A request whose events went to several blocks is only as well off as all of them."""
    if answer.unreadable:
        return submissions.refused(submissions.RefusalReason.UNREADABLE, answer.unreadable)
    failures = [fate for fate in fates if fate is not None]
    if not failures:
        return submissions.Outcome(accepted=answer.accepted, rejected=answer.rejected)
    if len(failures) == len(fates) and all(isinstance(failure, port.LogFullError) for failure in failures):
        message = f"the log is full, nothing was written: {failures[0]}"
        return submissions.refused(submissions.RefusalReason.OVERLOADED, message, _RETRY_SECONDS)
    return _unknown(str(failures[0]) or type(failures[0]).__name__)


def _unknown(why: str) -> submissions.Outcome:
    message = f"{why}; some events may be durable: send the request again with the same events"
    return submissions.refused(submissions.RefusalReason.UNKNOWN_OUTCOME, message, _RETRY_SECONDS)
