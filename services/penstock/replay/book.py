"""The dead-letter topic as a book: its letters and markers, read from records' headers alone.

Two passes, so that memory follows the markers and the ids and not the letters: first every marker, then the letters newest
first, each once.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import msgspec

from penstock.core import deadletters, dialects, markers, selection
from penstock.log import port
from penstock.replay import strays

MOST_NAMED = 3
_PAGE_RECORDS = 1_000
_LANE = re.compile(r"[a-z0-9.-]{1,253}/[a-z0-9.-]{1,253}/[a-z0-9-]{1,63}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A letter without its original, and the record that holds it.

    One that stands elsewhere is `partition`'s of our log all the same, and `offset` is that in its own topic.
    """

    letter: deadletters.DeadLetter
    state: selection.State
    partition: int
    offset: int


class Book:
    """What stood in the dead-letter topic, and how far the lanes were, when it was opened.

    Or in a topic of others: then these letters, and of our own the second ones of them.
    """

    def __init__(
        self,
        log: port.EventLog,
        marks: selection.Marks,
        max_replays: int,
        renamed: Mapping[str, str],
        unreadable: list[str],
        others: strays.Strays | None = None,
    ) -> None:
        self._log, self._max_replays, self._renamed, self._others = log, max_replays, renamed, others
        self._progress: dict[tuple[str, int], selection.Progress] = {}
        self.marks = marks
        self.unreadable = unreadable
        """Records that are no letters or that this release can't read, each once with its place and why.

        Complete after `letters` has been read to its end.
        """

    @classmethod
    async def open(
        cls,
        log: port.EventLog,
        *,
        max_replays: int = selection.MAX_REPLAYS,
        renamed: Mapping[str, str] | None = None,
        others: strays.Strays | None = None,
        run: str = "",
    ) -> Book:
        """Read every marker. Letters of a lane in `renamed` are those of the lane it leads to; of `run` all markers are kept.

        Raises LogError.
        """
        marks = selection.Marks(run)
        unreadable: list[str] = []
        for topic, partition in itertools.product((port.DEAD_LETTERS, port.OUTCOMES), range(log.partitions)):
            # What the topic of letters leaves out is told when the letters are read.
            async for record in _headers(log, topic, partition, unreadable if topic == port.OUTCOMES else None):
                if markers.is_marker(record.headers):
                    try:
                        marks.add(_checked(markers.decode(record.headers)), partition)
                    except markers.MarkerError as error:
                        unreadable.append(_said(topic, partition, record.offset, str(error)))
        book = cls(log, marks, max_replays, renamed or {}, unreadable, others)
        # A second letter is durable before its replay's offset is committed, so with the offset known first it is not missed.
        for lane, partition in marks.lanes():
            await book.progress(lane, partition)
        return book

    @property
    def such_as(self) -> Sequence[str]:
        """A few of what is not readable, to be named where the rest is counted."""
        return self.unreadable[:MOST_NAMED]

    async def letters(self) -> AsyncIterator[Found]:
        """Every letter once, newest first per partition; of equal ids the newest. Those of others come last, oldest first."""
        seen: set[str] = set()
        async for letter, partition, offset in self._ours():
            if letter.id not in seen:
                seen.add(letter.id)
                if self._others is None or self._others.are_mine(letter):
                    yield await self._found(letter, partition, offset)
        if self._others is None:
            return
        async for letter in self._others.letters(self.unreadable, self.marks.ids()):
            if letter.id not in seen:
                yield await self._found(letter, self._others.partition_of(letter), letter.offset)

    async def _ours(self) -> AsyncIterator[tuple[deadletters.DeadLetter, int, int]]:
        """With partition and offset, newest first."""
        for partition in range(self._log.partitions):
            async for record in _headers(self._log, port.DEAD_LETTERS, partition, self.unreadable):
                if markers.is_marker(record.headers):
                    continue
                try:
                    letter = dialects.decode(b"", record.headers, stamped_microseconds=record.append_time_microseconds)
                    _check_lane(letter.lane, deadletters.DeadLetterError)
                except deadletters.DeadLetterError as error:
                    self.unreadable.append(_said(port.DEAD_LETTERS, partition, record.offset, str(error)))
                    continue
                yield letter, partition, record.offset

    async def _found(self, letter: deadletters.DeadLetter, partition: int, offset: int) -> Found:
        state = await self.state(letter, partition)
        return Found(letter=self._at_home(letter), state=state, partition=partition, offset=offset)

    async def state(self, letter: deadletters.DeadLetter, partition: int) -> selection.State:
        """What has become of a letter, which is the newest of its id."""
        # Its replay stands in the replay log of the lane that was there then, whatever it is called now.
        place = self.marks.replayed_in(letter.id) or (letter.lane, partition)
        return self.marks.state(letter, await self.progress(*place), self._max_replays)

    def _at_home(self, letter: deadletters.DeadLetter) -> deadletters.DeadLetter:
        lane = self._renamed.get(letter.lane)
        return letter if lane is None else msgspec.structs.replace(letter, lane=lane, sink=sink_of(lane))

    async def progress(self, lane: str, partition: int) -> selection.Progress:
        """How far a lane was; asked of the log once per lane and partition."""
        key = (lane, partition)
        if key not in self._progress:
            self._progress[key] = await progress(self._log, lane, partition)
        return self._progress[key]


async def meant(letters: AsyncIterator[Found], filters: selection.Filters) -> AsyncIterator[tuple[Found, bool]]:
    """Each of the letters, and whether it is meant; asked of many at a time. Raises what either does, ConditionError too."""
    waiting: list[Found] = []
    async for found in letters:
        waiting.append(found)
        if len(waiting) == _PAGE_RECORDS:
            for pair in _judged(waiting, filters):
                yield pair
            waiting.clear()
    for pair in _judged(waiting, filters):
        yield pair


def _judged(letters: Sequence[Found], filters: selection.Filters) -> Iterator[tuple[Found, bool]]:
    return zip(letters, filters.admit([found.letter for found in letters]), strict=True)


async def progress(log: port.EventLog, lane: str, partition: int) -> selection.Progress:
    """How far a lane is now; one that has no name is nowhere. Raises LogError."""
    if not lane:
        return selection.Progress()
    topic = port.replay_topic(sink_of(lane))
    events = (await log.committed(port.EVENTS, lane)).get(partition)
    replays = (await log.committed(topic, lane)).get(partition)
    return selection.Progress(
        events_finished=events.offset if events else 0,
        replays_finished=replays.offset if replays else 0,
        replays_end=(await log.bounds(topic, partition)).end,
    )


async def _headers(
    log: port.EventLog, topic: str, partition: int, unreadable: list[str] | None = None
) -> AsyncIterator[port.Record]:
    """Newest first. What the log leaves out is told in `unreadable`, which costs nothing where nothing is."""
    before = (await log.bounds(topic, partition)).end
    while page := await log.headers(topic, partition, before, limit=_PAGE_RECORDS):
        for record in page:
            yield record
        lowest = page[-1].offset
        if unreadable is not None and before - lowest > len(page):
            unreadable += await _damaged(log, topic, partition, lowest, before)
        before = lowest
    # Read anew: by now letters may have expired.
    if unreadable is not None and (start := (await log.bounds(topic, partition)).start) < before:
        unreadable += await _damaged(log, topic, partition, start, before)


async def _damaged(log: port.EventLog, topic: str, partition: int, start: int, end: int) -> list[str]:
    """Newest first, as records are read here."""
    found, place = await log.damaged(topic, partition, start, end), f"{topic}/{partition}: "
    return [_said(topic, partition, one.offset, one.reason.removeprefix(place)) for one in reversed(found)]


def _said(topic: str, partition: int, offset: int, reason: str) -> str:
    place = f"partition {partition}, offset {offset}"
    return f"{place}: {reason}" if topic == port.DEAD_LETTERS else f"{topic}, {place}: {reason}"


def _checked(marker: markers.Marker) -> markers.Marker:
    """Raises MarkerError."""
    _check_lane(marker.lane, markers.MarkerError)
    return marker


def _check_lane(lane: str, error: type[ValueError]) -> None:
    """A lane leads to a topic of its own, so not any text will do; none is that of a letter which another tool wrote."""
    if lane and not _LANE.fullmatch(lane):
        raise error(f"lane: {lane[:60]!a} is none: NAMESPACE/PIPELINE/SINK is expected")


async def with_original(log: port.EventLog, found: Found, others: strays.Strays | None = None) -> Found:
    """The same letter with the event's own bytes; `others` as the book that it stands in.

    Raises LogError, DamagedLogError where the letter can be listed, and its event is not what was written.
    """
    if others and found.letter.stands_elsewhere:
        original = await others.original(found.letter)
        return dataclasses.replace(found, letter=msgspec.structs.replace(found.letter, original=original))
    # `read` gives at least one record whatever the bound: exactly the one that is asked for.
    # A letter without a single byte takes up no room, so more than one may come.
    there = await log.read(port.DEAD_LETTERS, found.partition, found.offset, max_bytes=1)
    if not there or there[0].offset != found.offset:
        raise port.OffsetOutOfRangeError(f"{port.DEAD_LETTERS}/{found.partition}: the letter at {found.offset} has expired")
    return dataclasses.replace(found, letter=msgspec.structs.replace(found.letter, original=there[0].value))


def sink_of(lane: str) -> str:
    """A lane is named namespace/pipeline/sink."""
    return lane.rpartition("/")[2]
