"""Keeps the tallies of the dead-letter topic up to date: reads what was written since the last look, and saves where it got to.

A look costs what is new. The tallies are saved as snapshots of the topic, so a process that is killed counts again from the
last one; every count follows from the topic alone, and comes out the same.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from penstock.core import deadletters, dialects, markers
from penstock.log import port
from penstock.replay import book, tally

GROUP = "penstock.letters"
_PAGE_RECORDS = 250
"""Decoded in one go on the loop."""
_SPANS = 128
"""A letter stays longer than it must by up to this part of the retention, so that what expires can be counted."""
_SHORTEST_SPAN_SECONDS = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What has become of the letters of one lane; all but the first two since counting began."""

    outstanding: int
    by_category: Mapping[str, int]
    """Of those that are outstanding."""
    replayed: int
    """Put back, and not failed again."""
    discarded: int
    expired: int
    """Outstanding when their retention ended."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    letter: deadletters.DeadLetter
    offset: int
    appended: int


_Named = TypeVar("_Named", deadletters.DeadLetter, markers.Marker)


class LetterCounts:
    """Of all lanes of one log, in the partitions that are this process's: `look` and `save` now and then."""

    def __init__(self, log: port.EventLog, lanes: Collection[str], *, keep_seconds: float, renamed: Mapping[str, str]) -> None:
        """`lanes` are those that may write letters again; `keep_seconds` is how long letters are kept."""
        self._log, self._lanes, self._renamed = log, frozenset(lanes), renamed
        self._span = int(max(_SHORTEST_SPAN_SECONDS, keep_seconds / _SPANS) * 1e6)
        self._tallies: dict[int, tally.Tally] = {}
        self._saved: dict[int, int] = {}
        self._turn = asyncio.Lock()

    async def _open(self, partition: int) -> None:
        """Go on from what was saved, by whoever."""
        bounds = await self._log.bounds(port.DEAD_LETTERS, partition)
        kept = await self._log.load_snapshot(port.DEAD_LETTERS, GROUP, partition, bounds.end)
        if kept:
            found = msgspec.msgpack.decode(kept.content, type=tally.Tally)
        else:
            found = tally.Tally(began=bounds.start, offset=bounds.start)
        for was, now in self._renamed.items():
            found.rename(was, now)
        self._tallies[partition], self._saved[partition] = found, kept.offset if kept and not self._renamed else -1

    async def look(self, partitions: Iterable[int], most_records: int = 2**62) -> None:
        """Count what is new in what is ours now, at most so many records of each partition. Raises LogError."""
        async with self._turn:
            owned = set(partitions)
            self._tallies = {partition: held for partition, held in self._tallies.items() if partition in owned}
            for partition in sorted(owned):
                if partition not in self._tallies:
                    await self._open(partition)
                await self._look(partition, most_records)

    async def _look(self, partition: int, most_records: int) -> None:
        held = self._tallies[partition]
        progress = {lane: await book.progress(self._log, lane, partition) for lane in self._lanes}
        bounds = await self._log.bounds(port.DEAD_LETTERS, partition)
        held.trimmed(bounds.start)
        stop = min(bounds.end, held.offset + most_records)
        while held.offset < stop:
            until = min(stop, held.offset + _PAGE_RECORDS)
            page = await self._log.headers(port.DEAD_LETTERS, partition, until, limit=until - held.offset)
            await self._count(partition, [record for record in reversed(page) if record.offset >= held.offset])
            held.offset = until
        # Only now: two letters of one id may both stand in what was just read, and be long finished.
        if held.offset >= bounds.end:
            held.settle(progress)

    async def _count(self, partition: int, records: Sequence[port.Record]) -> None:
        found = [one for record in records if (one := _read(record))]
        marks = [one for one in found if isinstance(one, markers.Marker)]
        lost = {(one.id, one.attempt) for one in marks if one.letter_offset == markers.NOWHERE}
        places = await self._places(partition, lost, records[-1].offset) if lost else {}
        again = any(isinstance(one, _Letter) and one.letter.attempt > 1 for one in found)
        ends = {lane: await self._replay_end(lane, partition) for lane in self._lanes} if again else {}
        held = self._tallies[partition]
        for one in found:
            if isinstance(one, markers.Marker):
                place = places.get((one.id, one.attempt), (one.letter_offset, one.category))
                held.marker(self._at_home(one), place[1], place[0])
            else:
                letter = self._at_home(one.letter)
                held.letter(one.offset, letter, self._may_come_again(one.offset, letter, ends), one.appended // self._span)

    def _at_home(self, one: _Named) -> _Named:
        lane = self._renamed.get(one.lane)
        return one if lane is None else msgspec.structs.replace(one, lane=lane)

    def _may_come_again(self, offset: int, letter: deadletters.DeadLetter, ends: Mapping[str, int]) -> tally.Unsettled:
        replay = letter.attempt > 1
        mine = self._log.known_as.holds(letter.log_id, letter.partition, letter.offset)
        below = ends.get(letter.lane, 0) if replay else letter.offset + 1 if mine else 0
        return tally.Unsettled(offset=offset, lane=letter.lane, category=letter.category.value, below=below, replay=replay)

    async def _replay_end(self, lane: str, partition: int) -> int:
        return (await self._log.bounds(port.replay_topic(book.sink_of(lane)), partition)).end

    async def _places(self, partition: int, wanted: set[tuple[str, int]], before: int) -> dict[tuple[str, int], tuple[int, str]]:
        """Offset and category of letters whose markers do not say it: a job that ended early left them, or an older release."""
        found: dict[tuple[str, int], tuple[int, str]] = {}
        while len(found) < len(wanted):
            page = await self._log.headers(port.DEAD_LETTERS, partition, before, limit=_PAGE_RECORDS)
            if not page:
                break
            for one in map(_read, page):
                if isinstance(one, _Letter) and (key := (one.letter.id, one.letter.attempt)) in wanted:
                    found.setdefault(key, (one.offset, one.letter.category.value))
            before = page[-1].offset
        return found

    async def save(self) -> None:
        """Raises LogError."""
        async with self._turn:
            for partition, held in self._tallies.items():
                if held.offset > self._saved[partition]:
                    snapshot = port.Snapshot(offset=held.offset, content=msgspec.msgpack.encode(held))
                    await self._log.save_snapshot(port.DEAD_LETTERS, GROUP, partition, snapshot)
                    self._saved[partition] = held.offset

    def of(self, lane: str) -> Standing:
        """As far as it was counted."""
        done = [one.lanes.get(lane, tally.Done()) for one in self._tallies.values()]
        waiting = sum((one.waiting(lane) for one in self._tallies.values()), collections.Counter[str]())
        return Standing(
            outstanding=max(0, waiting.total()),
            by_category={category: letters for category, letters in waiting.items() if letters > 0},
            replayed=max(0, sum(one.replayed for one in done)),
            discarded=sum(one.discarded for one in done),
            expired=max(0, sum(one.expired for one in done)),
        )

    def edge(self, partition: int, offset: int) -> int:
        """The highest offset up to this one below which letters may be trimmed."""
        held = self._tallies.get(partition)
        # What is not in the snapshot would be missing from a count after a crash.
        return held.edge(min(offset, self._saved[partition])) if held else 0


def _read(record: port.Record) -> _Letter | markers.Marker | None:
    """None for what this release can't read; `replay.book` leaves it out as well."""
    try:
        if markers.is_marker(record.headers):
            return markers.decode(record.headers)
        letter = dialects.decode(b"", record.headers, stamped_microseconds=record.append_time_microseconds)
    except (deadletters.DeadLetterError, markers.MarkerError):
        return None
    return _Letter(letter=letter, offset=record.offset, appended=record.append_time_microseconds)
