"""A member of a group that divides the source's topics. What it is given it reads by itself, in bulk.

The client's consumer keeps the membership and hears what the group decides; all of its partitions are paused for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pyarrow as pa
import structlog
from aiokafka import errors, structs

from penstock.log.kafka import client as kafka_client
from penstock.log.kafka import member as kafka_member
from penstock.log.kafka import settings as kafka_settings
from penstock.log.kafka.foreign import fetching, pages, places

_log = structlog.get_logger()

_WAIT_SECONDS = 0.5
_PAGE_BYTES = 4 << 20

Fetched = Mapping[structs.TopicPartition, Sequence[pages.Page]]


class Member(kafka_member.Member):
    """Partitions are numbers of the log, here and in `assignment`; pages come by them, under a topic without a name."""

    def __init__(
        self,
        settings: kafka_settings.Settings,
        divided: places.Places,
        group: str,
        news: Callable[[], None],
        *,
        committed: bool,
        learn: Callable[[pa.RecordBatch], Awaitable[None]],
    ) -> None:
        """`learn` is awaited before what was read is given out, and may raise LogUnavailableError."""
        super().__init__(settings, divided.topics[0], group, news)
        self._places = divided
        self._learn = learn
        self._fetcher = fetching.Fetcher(settings, committed=committed)
        self._next: dict[int, int] = {}
        self._held: set[int] = set()
        self._consumer.subscribe(list(divided.topics), listener=self)

    def seek(self, partition: int, offset: int) -> None:
        self._next[partition] = offset

    def pause(self, partition: int) -> None:
        self._held.add(partition)

    def resume(self, partition: int) -> None:
        self._held.discard(partition)

    def take(self) -> Fetched:
        """Of what was read since, the pages that follow on what was taken before. The next ones are asked for meanwhile."""
        found: dict[structs.TopicPartition, Sequence[pages.Page]] = {}
        for place, [page] in super().take().items():
            if self._next.get(place.partition) == page.start:
                self._next[place.partition] = page.end
                found[place] = [page]
        if found:
            _ = self.work
        return found

    async def end(self, client: kafka_client.Client) -> None:
        await super().end(client)
        await self._fetcher.close()

    async def on_partitions_revoked(self, revoked: set[structs.TopicPartition]) -> None:
        await super().on_partitions_revoked(revoked)
        self._next.clear()
        self._held.clear()

    async def on_partitions_assigned(self, assigned: set[structs.TopicPartition]) -> None:
        """A partition that was added to its topic since the topics were looked at is nobody's until they are looked at again."""
        for place in assigned:
            # Else the client looks for a place to start reading at, and complains that it finds none.
            self._consumer.seek(place, 0)
            self._consumer.pause(place)
        known = set(filter(self._places.holds, assigned))
        for place in assigned - known:
            _log.warning(
                "partition_unread",
                topic=place.topic,
                partition=place.partition,
                remedy="wait: the topics are looked at regularly",
            )
        await super().on_partitions_assigned({self._numbered(place) for place in known})

    async def _fetch(self) -> Fetched:
        if self._consumer._coordinator is None:  # noqa: SLF001
            return await super()._fetch()
        await self._consumer.getmany(timeout_ms=0)  # The group's troubles are told here, and who never asks is taken for dead.
        wanted = {number: at for number, at in self._next.items() if number not in self._held}
        asked = {place: at for number, at in wanted.items() if (place := self._places.place(number))}
        if not asked:
            await asyncio.sleep(_WAIT_SECONDS / 10)
            return {}
        try:
            found = await self._fetcher.fetch(asked, wait_seconds=_WAIT_SECONDS, max_bytes=_PAGE_BYTES)
        except errors.OffsetOutOfRangeError as error:
            raise errors.OffsetOutOfRangeError({self._numbered(place): at for place, at in error.args[0].items()}) from error
        for page in found.values():
            await self._learn(page.rows)
        return {self._numbered(place): [page] for place, page in found.items()}

    def _numbered(self, place: structs.TopicPartition) -> structs.TopicPartition:
        return structs.TopicPartition("", self._places.number(place))
