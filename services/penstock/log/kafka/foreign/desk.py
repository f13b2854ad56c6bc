"""Questions about the source's topics, by the numbers of the log: what a subscription asks of the log's own client."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import enum
from collections.abc import Mapping

from aiokafka.consumer import fetcher

from penstock.core import ledger
from penstock.log import port
from penstock.log.kafka import client as kafka_client
from penstock.log.kafka.foreign import places


class Start(enum.Enum):
    """Where a group begins that has committed nothing at all."""

    EARLIEST = "Earliest"
    NOW = "Now"
    TIME = "Time"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StartFrom:
    """`milliseconds` since the epoch belong to TIME."""

    where: Start = Start.EARLIEST
    milliseconds: int = 0


class Desk:
    """Over a client that somebody else opens and closes. `committed` records only are read, or all."""

    def __init__(self, client: kafka_client.Client, divided: places.Places, start: StartFrom, *, committed: bool) -> None:
        self._client, self._places, self._start = client, divided, start
        self._isolation = fetcher.READ_COMMITTED if committed else fetcher.READ_UNCOMMITTED

    async def bounds(self, _: str, number: int) -> port.Bounds:
        """Nothing where topics differ in size and there is no such partition."""
        place = self._places.place(number)
        return await self._client.bounds(place.topic, place.partition, self._isolation) if place else port.Bounds(start=0, end=0)

    async def committed(self, group: str, _: str) -> dict[int, port.Commit]:
        """What the group has committed; for one that has committed nothing, where it was told to start."""
        return await self._committed(group) or await self._first()

    async def begin(self, group: str) -> None:
        """Before a member joins: where a group begins that has committed nothing is the same for all of its members, and does
        not hold for partitions that are added later, which are read from their beginning."""
        if self._start.where is not Start.EARLIEST and not await self._committed(group):
            with contextlib.suppress(port.GroupInUseError):
                await self.commit_for(group, "", await self._first())

    async def _committed(self, group: str) -> dict[int, port.Commit]:
        found: dict[int, port.Commit] = {}
        for topic in self._places.topics:
            for partition, commit in (await self._client.committed(group, topic)).items():
                place = places.Place(topic, partition)
                if self._places.holds(place):
                    found[self._places.number(place)] = commit
        return found

    async def _first(self) -> dict[int, port.Commit]:
        if self._start.where is Start.EARLIEST:
            return {}
        numbers = [number for number in range(self._places.partitions) if self._places.place(number)]
        offsets = await asyncio.gather(*map(self._begins_at, numbers))
        return {
            number: port.Commit(offset=at, metadata=ledger.to_metadata(ledger.LaneMetadata(start_offset=at)))
            for number, at in zip(numbers, offsets, strict=True)
        }

    async def _begins_at(self, number: int) -> int:
        place, end = self._places.place(number), (await self.bounds("", number)).end
        if place is None or self._start.where is Start.NOW:
            return end
        at = await self._client.offset_at(place.topic, place.partition, self._start.milliseconds)
        return end if at is None else at

    async def commit(self, group: str, _: str, by: kafka_client.Membership, commits: Mapping[int, port.Commit]) -> None:
        """In the name of exactly this membership. Raises PartitionLostError when the group has gone on without it."""
        for topic, mine in self._by_topic(commits).items():
            await self._client.commit(group, topic, by, mine)

    async def commit_for(self, group: str, _: str, commits: Mapping[int, port.Commit]) -> None:
        """For a group without members. Raises GroupInUseError."""
        for topic, mine in self._by_topic(commits).items():
            await self._client.commit_for(group, topic, mine)

    async def leave(self, group: str, member: str) -> None:
        await self._client.leave(group, member)

    def _by_topic(self, commits: Mapping[int, port.Commit]) -> dict[str, dict[int, port.Commit]]:
        found: dict[str, dict[int, port.Commit]] = collections.defaultdict(dict)
        for number, commit in commits.items():
            if (place := self._places.place(number)) is not None:
                found[place.topic][place.partition] = commit
        return found
