"""Letters that stand in somebody else's topic, as letters of one lane.

The topic is only read. What becomes of them is written beside our own letters' fates (`port.OUTCOMES`), where it stays for
as long as the pipeline's log: the topic's records may stand longer than ours, and would be put back again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Protocol

import msgspec

from penstock.core import deadletters, dialects
from penstock.core.dialects import strays
from penstock.log import port


class Topic(Protocol):
    """See `penstock.log.kafka.strays`."""

    name: str
    topic_id: str
    partitions: int

    async def bounds(self, partition: int) -> port.Bounds: ...

    async def read(self, partition: int, offset: int) -> tuple[Sequence[dialects.Stray], int]: ...

    async def close(self) -> None: ...


class Strays:
    """Of one topic and one lane. `dialect` None: each record says by its headers whose it is."""

    def __init__(self, topic: Topic, home: dialects.Home, dialect: dialects.Dialect | None, partitions: int) -> None:
        """`partitions`: of our log."""
        self.topic, self.home = topic, home
        self._dialect, self._partitions = dialect, partitions
        self._page: dict[tuple[int, int], bytes] = {}

    def partition_of(self, letter: deadletters.DeadLetter) -> int:
        """Which partition of our log a letter goes to, and what is written about it."""
        return letter.partition % self._partitions

    def are_mine(self, letter: deadletters.DeadLetter) -> bool:
        """Whether a letter of ours is the second one of a record here."""
        return letter.elsewhere is not None and letter.log_id == self.topic.topic_id

    async def letters(self, unreadable: list[str], known: Collection[str] = frozenset()) -> AsyncIterator[deadletters.DeadLetter]:
        """Without originals, in the order of their places; `known` are ids that have a fate. Raises LogError.

        What can't be read is told in `unreadable`. Of a letter that another pipeline wrote several times the last comes.
        """
        several: dict[str, deadletters.DeadLetter] = {}
        for partition in range(self.topic.partitions):
            async for stray in self._records(partition):
                letter = self._adopted(stray, known, unreadable)
                if letter and letter.elsewhere and letter.elsewhere.tool == strays.OURS:
                    several[letter.id] = letter
                elif letter:
                    yield letter
        for letter in several.values():
            yield letter

    async def _records(self, partition: int) -> AsyncIterator[dialects.Stray]:
        """As far as the topic went when it was asked, or up to a transaction that is open."""
        bounds = await self.topic.bounds(partition)
        offset, before = bounds.start, -1
        while before < offset < bounds.end:
            page, following = await self.topic.read(partition, offset)
            for stray in page:
                if stray.offset < bounds.end:
                    yield stray
            before, offset = offset, following

    def _adopted(self, stray: dialects.Stray, known: Collection[str], unreadable: list[str]) -> deadletters.DeadLetter | None:
        try:
            # The original is read again when it is wanted.
            return msgspec.structs.replace(dialects.adopt(stray, self.home, self._dialect, known), original=b"")
        except strays.NoLetterError:
            return None
        except deadletters.DeadLetterError as error:
            unreadable.append(f"{stray.topic}, partition {stray.partition}, offset {stray.offset}: {error}")
            return None

    async def original(self, letter: deadletters.DeadLetter) -> bytes:
        """The event's own bytes. Raises LogError, also when the record has left its topic."""
        place = (letter.partition, letter.offset)
        if place not in self._page:
            page, _ = await self.topic.read(*place)
            # Letters are asked for in the order of their places: what was read with one is likely to be asked for next.
            self._page = {(one.partition, one.offset): one.value or b"" for one in page}
        if place not in self._page:
            raise port.OffsetOutOfRangeError(f"{self.topic.name}/{letter.partition}: the letter at {letter.offset} has expired")
        return self._page[place]
