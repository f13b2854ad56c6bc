"""The job that puts letters back: publish to the lanes' replay logs, then mark, a stretch at a time.

It may end anywhere. What was published and not marked is found at the next start, before anything else is published; a lane
that is given one attempt twice all the same drops the second.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence

import structlog

from penstock.core import deadletters, dialects, failpoints, markers, selection
from penstock.log import port
from penstock.replay import book, survey, watch

_log = structlog.get_logger()

EVENTS_PER_SECOND = 500
_MOST_AT_ONCE = 250
_LOOK_SECONDS = 0.1
_LONGEST_LOOK_SECONDS = 2.0
_TELL_SECONDS = 1.0


class BusyError(Exception):
    """A lane of this selection is being replayed already."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Pace:
    """How fast letters go, at least one in a second. May be changed while they do; it counts from the next stretch."""

    events_per_second: int = EVENTS_PER_SECOND


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is. `landed` and `failed_again`, of the letters it has published, are exact at its end."""

    survey: survey.Survey
    published: int = 0
    landed: int = 0
    failed_again: int = 0
    finished: bool = False
    suspended: str = ""
    """Why the job stopped before everything was published."""
    damaged: Sequence[str] = ()
    """Letters that were selected and left where they are: their events are not what was written. Each with its place."""

    @property
    def under_way(self) -> int:
        """Published, and not finished by their lanes when this was said."""
        return self.published - self.landed - self.failed_again


class Jobs:
    """The replays of one process over one log, which it alone writes; at most one per lane at a time."""

    def __init__(
        self,
        log: port.EventLog,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        failpoint: failpoints.Failpoint = failpoints.nothing,
    ) -> None:
        self._log, self._sleep, self._failpoint = log, sleep, failpoint
        self._busy: set[str] = set()

    async def replay(
        self,
        order: survey.Order,
        *,
        pace: Pace | None = None,
        reason: str = "",
        wait_seconds: float = 30.0,
        suspend: watch.SuspendOnFailure | None = None,
    ) -> AsyncGenerator[Progress, None]:
        """Publish what is meant, then wait so long for the lanes to finish it. Raises BusyError, LogError.

        With `suspend` it is published no faster than the lanes finish it, so that a job can stop in time; what was not
        published waits for the next.
        """
        pace = pace or Pace()
        with self._turn(order):
            pen, watching, suspended = _Pen(self._log, reason, order), watch.Watch(self._log), ""
            await watching.begin()
            found = await survey.survey(self._log, order)
            if found.unreadable:
                _log.warning("not_dead_letters", records=found.unreadable, such_as=list(found.such_as))
            await pen.mark(found.unmarked)
            yield Progress(survey=found)
            published: list[survey.Published] = []
            while (done := len(published) + len(pen.damaged)) < len(found.selected):
                if suspend and (suspended := await self._hold(watching, suspend, pace, wait_seconds)):
                    break
                began, rate = time.monotonic(), pace.events_per_second
                stretch = found.selected[done : done + min(_MOST_AT_ONCE, rate)]
                fresh = await pen.publish(stretch)
                self._failpoint("replay.published")
                await pen.mark(fresh)
                self._failpoint("replay.marked")
                published += fresh
                watching.add(fresh)
                yield _going(found, published, watching)
                await self._sleep(max(0.0, len(stretch) / rate - (time.monotonic() - began)))
            async for _ in self._finishing(watching, wait_seconds):
                yield _going(found, published, watching)
            if pen.damaged:
                _log.warning("dead_letters_damaged", letters=len(pen.damaged), such_as=pen.damaged[: book.MOST_NAMED])
            outcome = await self._outcome(order, found, published)
            yield dataclasses.replace(outcome, suspended=suspended, damaged=pen.damaged)

    async def discard(self, order: survey.Order, *, reason: str) -> int:
        """Give up everything that waits and is meant; how many letters. Raises BusyError, LogError."""
        with self._turn(order):
            pen = _Pen(self._log, reason, order)
            await pen.mark((await survey.survey(self._log, order)).unmarked)
            opened = await book.Book.open(self._log, renamed=order.renamed, others=order.others)
            chosen = [one async for one, is_meant in book.meant(opened.letters(), order.filters) if is_meant]
            return await pen.discard([one for one in chosen if one.state in selection.WAITING])

    @contextlib.contextmanager
    def _turn(self, order: survey.Order) -> Iterator[None]:
        wanted = {lane for lane in order.lanes if not order.filters.sinks or book.sink_of(lane) in order.filters.sinks}
        if taken := sorted(map(book.sink_of, wanted & self._busy)):
            raise BusyError(f"letters of {', '.join(taken)} are being replayed already; wait for that to end")
        self._busy |= wanted
        try:
            yield
        finally:
            self._busy -= wanted

    async def _finishing(self, watching: watch.Watch, wait_seconds: float) -> AsyncGenerator[None, None]:
        """Until the lanes have finished what was published, or the time is up; now and then meanwhile."""
        waited, told, wait, unfinished = 0.0, 0.0, _LOOK_SECONDS, watching.unfinished
        while True:
            await watching.look()
            if not watching.unfinished or waited >= wait_seconds:
                return
            if waited >= told:
                told = waited + _TELL_SECONDS
                yield
            wait = _next_wait(wait, moved=watching.unfinished != unfinished)
            unfinished = watching.unfinished
            await self._sleep(wait)
            waited += wait

    async def _hold(self, watching: watch.Watch, suspend: watch.SuspendOnFailure, pace: Pace, wait_seconds: float) -> str:
        """Wait while more is unfinished than a second's worth, unless nothing moves at all; why the job should stop, or empty."""
        waited, wait, unfinished = 0.0, _LOOK_SECONDS, watching.unfinished
        while True:
            await watching.look()
            if reason := suspend.reason(watching.finished, watching.failed):
                return reason
            if watching.unfinished <= pace.events_per_second or waited >= wait_seconds:
                return ""
            moved, unfinished = watching.unfinished != unfinished, watching.unfinished
            wait = _next_wait(wait, moved=moved)
            waited = 0.0 if moved else waited + wait
            await self._sleep(wait)

    async def _outcome(self, order: survey.Order, found: survey.Survey, published: Sequence[survey.Published]) -> Progress:
        """What has become of each letter that was published."""
        failed_events: set[tuple[object, ...]] = set()
        opened = await book.Book.open(self._log, renamed=order.renamed)
        mine = {one.letter.id for one in published}
        states = {
            one.letter.id: await opened.state(one.letter, one.partition) for one in published if one.letter.stands_elsewhere
        }
        async for one in opened.letters():
            if one.letter.id in mine:
                states[one.letter.id] = one.state
            if one.letter.attempt > 1:
                failed_events.add(_event(one.letter, one.letter.attempt))
        again = {
            one.letter.id
            for one in published
            if states[one.letter.id] in selection.WAITING
            # A whole event that failed again may have done so in rows, which have letters of their own.
            or (not one.letter.items and _event(one.letter, one.letter.attempt + 1) in failed_events)
        }
        landed = sum(state is selection.State.LANDED for id_, state in states.items() if id_ not in again)
        return Progress(survey=found, published=len(published), landed=landed, failed_again=len(again), finished=True)


def _next_wait(wait: float, *, moved: bool) -> float:
    """Ever longer while nothing moves: a store may be away for days, and each look asks the brokers."""
    return _LOOK_SECONDS if moved else min(_LONGEST_LOOK_SECONDS, wait * 1.3)


def _going(found: survey.Survey, published: Sequence[survey.Published], watching: watch.Watch) -> Progress:
    """As far as was seen."""
    failed = min(watching.failed, watching.finished)
    return Progress(survey=found, published=len(published), landed=watching.finished - failed, failed_again=failed)


class _Pen:
    """Appends on behalf of one job, in gapless sequences of its own."""

    def __init__(self, log: port.EventLog, reason: str, order: survey.Order) -> None:
        self._log, self._reason, self._order = log, reason, order
        self._producer = f"replay-{secrets.token_hex(8)}"
        self._sequences: collections.Counter[tuple[str, int]] = collections.Counter()
        self.damaged: list[str] = []
        """What was not published, because its event is not what was written."""

    async def publish(self, stretch: Sequence[book.Found]) -> list[survey.Published]:
        """Whole letters into the replay logs of their lanes, in their order; durable on return."""
        opened = [(one, record) for one in stretch if (record := await self._replay_of(one))]
        offsets = await self._append([record for _, record in opened])
        return [
            survey.Published(letter=one.letter, partition=one.partition, offset=offset, letter_offset=one.offset)
            for (one, _), offset in zip(opened, offsets, strict=True)
        ]

    async def _replay_of(self, found: book.Found) -> tuple[str, int, tuple[bytes, dict[str, bytes]]] | None:
        """What is appended, and where. None where the letter's own record is damaged, which stops none of its neighbours."""
        try:
            whole = await book.with_original(self._log, found, self._order.others)
            return port.replay_topic(book.sink_of(whole.letter.lane)), whole.partition, dialects.encode(whole.letter)
        except port.DamagedLogError as error:
            self.damaged.append(str(error))
            return None

    async def mark(self, published: Sequence[survey.Published]) -> None:
        """Say of letters that they stand in a replay log; durable on return."""
        now = time.time_ns() // 1000
        made = [
            survey.marker_of(one, at_microseconds=now, reason=self._reason, run=run)
            for one, run in zip(published, self._runs_of(published), strict=True)
        ]
        await self._append(
            [(_beside(one.letter), one.partition, markers.encode(marker)) for one, marker in zip(published, made, strict=True)]
        )

    def _runs_of(self, published: Sequence[survey.Published]) -> list[str]:
        """What another job left unmarked may be none of this run's."""
        if not self._order.run:
            return [""] * len(published)
        return [self._order.run if mine else "" for mine in self._order.filters.admit([one.letter for one in published])]

    async def discard(self, chosen: Sequence[book.Found]) -> int:
        """Say of letters that they were given up; how many."""
        for stretch in _stretches(chosen, _MOST_AT_ONCE):
            await self._append([(_beside(one.letter), one.partition, markers.encode(self._discarded(one))) for one in stretch])
        return len(chosen)

    def _discarded(self, found: book.Found) -> markers.Marker:
        letter = found.letter
        return markers.Marker(
            kind=markers.Kind.DISCARDED,
            id=letter.id,
            lane=letter.lane,
            attempt=letter.attempt,
            at_microseconds=time.time_ns() // 1000,
            reason=self._reason,
            category=letter.category.value,
            letter_offset=found.offset,
            run=self._order.run,
        )

    async def _append(self, records: Sequence[tuple[str, int, tuple[bytes, dict[str, bytes]]]]) -> list[int]:
        """Offsets. Appends that are made together share the log's flushes, and the log keeps the order they were made in."""
        done = await asyncio.gather(*(self._log.append(*self._record(*one)) for one in records), return_exceptions=True)
        if failure := next((one for one in done if isinstance(one, BaseException)), None):
            raise failure
        return [one.offset for one in done if isinstance(one, port.Appended)]

    def _record(self, topic: str, partition: int, encoded: tuple[bytes, dict[str, bytes]]) -> tuple[str, int, port.NewRecord]:
        value, headers = encoded
        sequence = self._sequences[topic, partition]
        self._sequences[topic, partition] += 1
        return topic, partition, port.NewRecord(value=value, headers=headers, producer=self._producer, sequence=sequence)


def _beside(letter: deadletters.DeadLetter) -> str:
    """Where the markers of a letter stand: with it, or if it is in a topic of others, in one of our own."""
    return port.OUTCOMES if letter.stands_elsewhere else port.DEAD_LETTERS


def _event(letter: deadletters.DeadLetter, attempt: int) -> tuple[object, ...]:
    return letter.lane, letter.log_id, letter.partition, letter.offset, letter.ordinal, attempt


def _stretches(found: Sequence[book.Found], most: int) -> Iterator[Sequence[book.Found]]:
    return (found[start : start + most] for start in range(0, len(found), most))
