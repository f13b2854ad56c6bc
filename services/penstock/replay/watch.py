"""How the letters of a job fare while it goes on: what stops a replay that only makes the same failures again."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

from penstock.core import deadletters, dialects, markers
from penstock.log import port
from penstock.replay import book, survey

_PAGE_RECORDS = 1_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SuspendOnFailure:
    """A job stops when more than `percent` of the letters that its lanes have finished, at least `minimum`, failed again."""

    percent: int = 20
    minimum: int = 100

    def reason(self, finished: int, failed: int) -> str:
        """Why the job should stop, empty while it should not."""
        if finished < self.minimum or failed * 100 <= self.percent * finished:
            return ""
        return f"{failed:,} of {finished:,} failed again, more than {self.percent}%"


class Watch:
    """Reads the ends of the dead-letter topic and the lanes' positions; each look costs what was written since the last."""

    def __init__(self, log: port.EventLog) -> None:
        self._log = log
        self._letters_read: dict[int, int] = {}
        self._waiting: dict[tuple[str, int], list[int]] = collections.defaultdict(list)
        self._mine: set[tuple[object, ...]] = set()
        self._failed: set[tuple[object, ...]] = set()
        self.published = 0

    @property
    def unfinished(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def finished(self) -> int:
        return self.published - self.unfinished

    @property
    def failed(self) -> int:
        """Of the letters that were published, how many have a letter again; some of them may not be finished yet."""
        return len(self._failed)

    async def begin(self) -> None:
        """Before anything is published."""
        for partition in range(self._log.partitions):
            self._letters_read[partition] = (await self._log.bounds(port.DEAD_LETTERS, partition)).end

    def add(self, fresh: Sequence[survey.Published]) -> None:
        for one in fresh:
            self._waiting[one.letter.lane, one.partition].append(one.offset)
            self._mine.add(_unit(one.letter, one.letter.attempt))
        self.published += len(fresh)

    async def look(self) -> None:
        """Raises LogError."""
        # A second letter is durable before its replay's offset is committed: with the offsets first none is missed.
        for (lane, partition), offsets in self._waiting.items():
            commit = (await self._log.committed(port.replay_topic(book.sink_of(lane)), lane)).get(partition)
            position = commit.offset if commit else 0
            offsets[:] = [offset for offset in offsets if offset >= position]
        for partition, read in self._letters_read.items():
            self._letters_read[partition] = await self._read_letters(partition, read)

    async def _read_letters(self, partition: int, read: int) -> int:
        """Where the topic ends now."""
        end = before = (await self._log.bounds(port.DEAD_LETTERS, partition)).end
        while before > read:
            page = await self._log.headers(port.DEAD_LETTERS, partition, before, limit=min(_PAGE_RECORDS, before - read))
            if not page:
                break
            for record in page:
                self._take(record)
            before = page[-1].offset
        return end

    def _take(self, record: port.Record) -> None:
        if markers.is_marker(record.headers):
            return
        try:
            letter = dialects.decode(b"", record.headers)
        except deadletters.DeadLetterError:
            return
        whole = (*_unit(letter, letter.attempt - 1)[:-1], ())
        # A whole event that failed again may have done so in rows, which have letters of their own.
        self._failed.update(self._mine & {_unit(letter, letter.attempt - 1), whole})


def _unit(letter: deadletters.DeadLetter, attempt: int) -> tuple[object, ...]:
    return letter.lane, letter.log_id, letter.partition, letter.offset, letter.ordinal, attempt, letter.items
