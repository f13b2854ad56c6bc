"""One consumer of the client, from joining its group to its end: everything that must be known of the client's insides.

A member is never mended. One that is broken is ended for certain, with all its tasks and connections, and another one joins.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence

import aiokafka
from aiokafka import abc, errors, structs

from penstock.log.kafka import client as kafka_client
from penstock.log.kafka import connection
from penstock.log.kafka import settings as kafka_settings

_FETCH_MILLISECONDS = 500
_FETCH_BYTES = 16 << 20

Fetched = Mapping[structs.TopicPartition, Sequence[aiokafka.ConsumerRecord]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assignment:
    """What one generation of the group gave this member. Two of them are never the same, even with equal partitions."""

    partitions: Sequence[int]
    by: kafka_client.Membership


class Member(abc.ConsumerRebalanceListener):
    """`assignment` is what the group says now, None while it makes up its mind; `news` is called when that changes."""

    def __init__(self, settings: kafka_settings.Settings, name: str, group: str, news: Callable[[], None]) -> None:
        patience = settings.patience
        self.assignment: Assignment | None = None
        self.broken = False
        self._patience, self._name, self._group, self._news = patience, name, group, news
        self._released = asyncio.Event()
        self._released.set()
        self._work: asyncio.Task[Fetched] | None = None
        self._consumer = aiokafka.AIOKafkaConsumer(
            **kafka_client.connection_settings(settings),
            group_id=group,
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_bytes=_FETCH_BYTES,
            max_partition_fetch_bytes=kafka_settings.MESSAGE_BYTES,
            session_timeout_ms=int(patience.session * 1_000),
            heartbeat_interval_ms=int(patience.heartbeat * 1_000),
            rebalance_timeout_ms=int(patience.rebalance * 1_000),
        )
        connection.keep_renewed(self._consumer._client, settings.security)  # noqa: SLF001 - it can't be given one
        self._consumer.subscribe([name], listener=self)

    @property
    def work(self) -> asyncio.Task[Fetched]:
        """Joining, then fetching. It is never cancelled from outside: that would break the client's count of fetches."""
        if self._work is None:
            self._work = asyncio.create_task(self._fetch())
        return self._work

    def take(self) -> Fetched:
        """What the work has come to, if it is done; then there is new work. Raises what it failed of."""
        if self._work is None or not self._work.done():
            return {}
        work, self._work = self._work, None
        if not work.exception() and self._has_dead_task():
            self.broken = True
            raise errors.KafkaError("a task of the client has ended")
        return work.result()

    def seek(self, partition: int, offset: int) -> None:
        """What is fetched from now on begins there. What the group takes away at this moment needs no telling."""
        self._tell(partition, lambda place: self._consumer.seek(place, offset))

    def pause(self, partition: int) -> None:
        self._tell(partition, self._consumer.pause)

    def resume(self, partition: int) -> None:
        self._tell(partition, self._consumer.resume)

    def hold(self) -> None:
        """The lane works on the present assignment: the group has to wait, within a bound, until it is released."""
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    async def end(self, client: kafka_client.Client) -> None:
        """For certain, in bounded time, and so that the group goes on at once. Raises nothing."""
        self.assignment = None
        self.release()
        consumer, tasks = self._consumer, self._tasks()
        coordinator = consumer._coordinator  # noqa: SLF001
        member = coordinator.member_id if coordinator else ""
        consumer._closed = True  # noqa: SLF001 - else it complains when it is collected
        await connection.end(consumer._client, tasks, self._patience.close)  # noqa: SLF001
        if member:
            await client.leave(self._group, member)

    async def on_partitions_revoked(self, revoked: set[structs.TopicPartition]) -> None:
        """In the client's own task: the group waits until this returns."""
        self.assignment = None
        self._news()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience.revocation):
                await self._released.wait()

    async def on_partitions_assigned(self, assigned: set[structs.TopicPartition]) -> None:
        """In the client's own task."""
        coordinator = self._consumer._coordinator  # noqa: SLF001
        by = kafka_client.Membership(generation=coordinator.generation, member=coordinator.member_id)
        self.assignment = Assignment(partitions=sorted(place.partition for place in assigned), by=by)
        self._news()

    async def _fetch(self) -> Fetched:
        if self._consumer._coordinator is None:  # noqa: SLF001
            try:
                await self._consumer.start()
            except BaseException:
                self.broken = True
                raise
            return {}
        fetched: Fetched = await self._consumer.getmany(timeout_ms=_FETCH_MILLISECONDS)
        return fetched

    def _has_dead_task(self) -> bool:
        consumer = self._consumer
        own = (consumer._coordinator._coordination_task, consumer._fetcher._fetch_task, consumer._client._sync_task)  # noqa: SLF001
        return any(task is None or task.done() for task in own)

    def _tasks(self) -> list[asyncio.Task[object]]:
        coordinator, fetcher = self._consumer._coordinator, self._consumer._fetcher  # noqa: SLF001
        found = [self._work]
        if coordinator:
            found += [coordinator._coordination_task, coordinator._heartbeat_task, coordinator._commit_refresh_task]  # noqa: SLF001
        if fetcher:
            found += [fetcher._fetch_task, *fetcher._pending_tasks]  # noqa: SLF001
        return [task for task in found if task]

    def _tell(self, partition: int, tell: Callable[[structs.TopicPartition], None]) -> None:
        with contextlib.suppress(errors.IllegalStateError):
            tell(structs.TopicPartition(self._name, partition))
