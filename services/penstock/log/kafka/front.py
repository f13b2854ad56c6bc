"""The `EventLog` over a Kafka cluster: one topic per topic of the port, one consumer group per lane and topic.

This is the front. `client` asks the cluster, `producer` appends, `subscription` reads for a lane, `topics` says how topics must
be set. Any number of processes may have the same log open.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from penstock.core import lineage
from penstock.log import port
from penstock.log.kafka import client as kafka_client
from penstock.log.kafka import producer as kafka_producer
from penstock.log.kafka import records, topics
from penstock.log.kafka import settings as kafka_settings
from penstock.log.kafka import snapshots as kafka_snapshots
from penstock.log.kafka import subscription as kafka_subscription
from penstock.telemetry import metrics

_SIZE_SECONDS = 5.0
_HEADER_BYTES = 1 << 20
_APPEARANCE_ATTEMPTS = 20
_APPEARANCE_SECONDS = 0.05


class KafkaLog:
    """`port.EventLog`. A re-send of anything but a producer's last record answers `resent` with offset -1.

    `append_time` is the leader's clock: it may step back where a leader moves to a broker whose clock is behind.
    """

    def __init__(
        self,
        settings: kafka_settings.Settings,
        client: kafka_client.Client,
        identity: str,
        main: str = port.EVENTS,
        *,
        grows: bool = False,
    ) -> None:
        self._settings, self._grows = settings, grows
        self._client = client
        self._identity = identity
        self._producer = kafka_producer.Producer(settings, self._end, self._look)
        self._ensuring = asyncio.Lock()
        self._known = {main, port.DEAD_LETTERS}
        self._subscriptions: set[kafka_subscription.KafkaSubscription] = set()
        self._size = 0
        self._sized_at: float | None = None
        self._closed = False

    @classmethod
    async def open(
        cls, settings: kafka_settings.Settings, main: str = port.EVENTS, *, create: bool = True, grows: bool = False
    ) -> KafkaLog:
        """Make the topics of events and dead letters unless they are there; `main` is the one whose id is the log's.

        A log beside topics of others has no events of its own: its main topic is that of dead letters. Without `create` it is
        an error when the topics are not there. `grows`: topics with fewer partitions are given as many, those with more keep
        them; for logs whose partitions no key chooses.

        Raises LogError when the cluster can't be reached or has other partitions, TopicMisconfiguredError.
        """
        if grows:
            settings = await _as_large(settings, main, grow=create)
        client = kafka_client.Client(settings)
        await client.open()
        try:
            if not create:
                await _check_there(client, topics.topic_name(settings.prefix, main))
            await _ensure(client, settings, port.DEAD_LETTERS, grows=grows)
            return cls(settings, client, await _ensure(client, settings, main, grows=grows), main, grows=grows)
        except BaseException:
            await client.close()
            raise

    @property
    def log_id(self) -> str:
        """Kafka's id of the topic of events: another one when the topic is made again."""
        return self._identity

    @property
    def known_as(self) -> lineage.Lineage:
        return lineage.Lineage(log_id=self._identity)

    @property
    def partitions(self) -> int:
        return self._settings.partitions

    async def grow(self, partitions: int) -> None:
        """Have at least as many from now on, behind those there are; subscriptions keep what they have. Raises LogError."""
        if partitions > self.partitions:
            async with self._ensuring:
                grown = dataclasses.replace(self._settings, partitions=partitions)
                for topic in self._known:
                    await _ensure(self._client, grown, topic, grows=True)
                self._settings = grown
                self._client.ask_of(partitions)

    async def append(self, topic: str, partition: int, record: port.NewRecord) -> port.Appended:
        """As the port says. After a LogError about time or connections the outcome is unknown: append the same record again."""
        name = await self._place(topic, partition)
        if topic == port.EVENTS and self._settings.max_bytes is not None:
            await self._check_room(self._settings.max_bytes, len(record.value))
        started = time.perf_counter()
        appended = await self._producer.append(name, partition, record)
        metrics.LOG_APPEND_SECONDS.labels(topic).observe(time.perf_counter() - started)
        return appended

    async def subscribe(self, topic: str, group: str, listener: port.AssignmentListener) -> port.Subscription:
        """Returns when the group has let this member in."""
        await self._place(topic, 0)
        subscription = kafka_subscription.KafkaSubscription(
            self._settings, self._client, topic=topic, group=group, listener=listener, closed=self._subscriptions.discard
        )
        await subscription.open()
        self._subscriptions.add(subscription)
        return subscription

    async def read(self, topic: str, partition: int, offset: int, *, max_bytes: int) -> Sequence[port.Record]:
        name = await self._place(topic, partition)
        found: list[port.Record] = []
        held = 0
        while more := await self._fetched(topic, name, partition, offset, max_bytes, found):
            for record in more:
                held += len(record.value)
                if found and held > max_bytes:
                    return found
                found.append(record)
            offset = more[-1].offset + 1
            if held >= max_bytes:
                break
        return found

    async def _fetched(
        self, topic: str, name: str, partition: int, offset: int, max_bytes: int, before: Sequence[port.Record]
    ) -> Sequence[port.Record]:
        """The next ones. Raises DamagedLogError only where nothing was found `before`: that much can be used."""
        try:
            return await self._client.fetch(topic, name, partition, offset, max_bytes)
        except port.DamagedLogError:
            if before:
                return []
            raise

    async def headers(self, topic: str, partition: int, before: int, *, limit: int) -> Sequence[port.Record]:
        """Kafka has no way to leave the values out: they are read and dropped, a piece at a time. Damaged ones are left out."""
        name = await self._place(topic, partition)
        bounds = await self._client.bounds(name, partition)
        before = min(before, bounds.end)
        found: list[port.Record] = []
        while not found and bounds.start < before:
            offset = max(bounds.start, before - limit)
            async for piece in self._pieces(topic, name, partition, offset, before):
                found += [dataclasses.replace(record, value=b"") for record in piece.found if record.offset < before]
            before = offset
        return found[::-1]

    async def damaged(self, topic: str, partition: int, start: int, end: int) -> Sequence[port.Damaged]:
        name = await self._place(topic, partition)
        bounds = await self._client.bounds(name, partition)
        pieces = self._pieces(topic, name, partition, max(start, bounds.start), min(end, bounds.end))
        return [one async for piece in pieces for one in piece.damaged if one.offset < end]

    async def _pieces(self, topic: str, name: str, partition: int, offset: int, before: int) -> AsyncIterator[records.Piece]:
        """Those that cover [offset, before). Damaged records in them are the business of the lane that meets them."""
        while offset < before:
            piece = await self._client.fetch_readable(topic, name, partition, offset, _HEADER_BYTES)
            yield piece
            if piece.following == offset:
                return
            offset = piece.following

    async def bounds(self, topic: str, partition: int) -> port.Bounds:
        return await self._client.bounds(await self._place(topic, partition), partition)

    async def committed(self, topic: str, group: str) -> Mapping[int, port.Commit]:
        name = await self._place(topic, 0)
        return await self._client.committed(topics.group_name(self._settings.prefix, group, topic), name)

    async def commit_for(self, topic: str, group: str, commits: Mapping[int, port.Commit]) -> None:
        name, known_as = await self._place(topic, 0), topics.group_name(self._settings.prefix, group, topic)
        await self._client.commit_for(known_as, name, commits)

    async def save_snapshot(self, topic: str, group: str, partition: int, snapshot: port.Snapshot) -> None:
        """As the port says; not held against `max_bytes`."""
        await (await self._snapshots(partition)).save(
            kafka_snapshots.Place(topic=topic, group=group, partition=partition), snapshot
        )

    async def load_snapshot(self, topic: str, group: str, partition: int, at_most: int) -> port.Snapshot | None:
        found = await self._kept(topic, group, partition)
        return next((snapshot for snapshot in found if snapshot.offset <= at_most), None)

    async def snapshot_offsets(self, topic: str, group: str, partition: int) -> Sequence[int]:
        return [snapshot.offset for snapshot in await self._kept(topic, group, partition)]

    async def forget_snapshots(self, topic: str, group: str, partition: int) -> None:
        await (await self._snapshots(partition)).forget(kafka_snapshots.Place(topic=topic, group=group, partition=partition))

    async def trim(self, topic: str, partition: int, before: int) -> None:
        name = await self._place(topic, partition)
        if before > (await self._client.bounds(name, partition)).start:
            await self._client.delete_below(name, partition, before)

    async def size_bytes(self) -> int:
        """Of one copy of everything. The brokers let go of what was trimmed a segment at a time, so it falls late."""
        self._check_open()
        return sum((await self._sizes()).values())

    async def _sizes(self) -> dict[tuple[str, int], int]:
        return await self._client.sizes([topics.topic_name(self._settings.prefix, topic) for topic in self._known])

    async def _untrimmed(self) -> int:
        """Without the partitions of which everything was trimmed: the brokers keep the segment they write all the same."""
        total = 0
        for (name, partition), size in (await self._sizes()).items():
            bounds = await self._client.bounds(name, partition)
            total += size if bounds.end > bounds.start else 0
        return total

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for subscription in list(self._subscriptions):
            await subscription.close()
        await self._producer.close()
        await self._client.close()

    async def _place(self, topic: str, partition: int) -> str:
        """The Kafka name of a topic that is there, if need be because it was made now."""
        self._check_open()
        if not (0 <= partition < self.partitions or self._grows):
            raise port.LogError(f"{topic}/{partition}: this log has the partitions 0 to {self.partitions - 1}")
        if topic not in self._known:
            async with self._ensuring:
                await _ensure(self._client, self._settings, topic, grows=self._grows)
                self._known.add(topic)
        return topics.topic_name(self._settings.prefix, topic)

    async def _kept(self, topic: str, group: str, partition: int) -> Sequence[port.Snapshot]:
        place = kafka_snapshots.Place(topic=topic, group=group, partition=partition)
        return (await (await self._snapshots(partition)).history(place)).kept

    async def _snapshots(self, partition: int) -> kafka_snapshots.Snapshots:
        return kafka_snapshots.Snapshots(await self._place(kafka_snapshots.TOPIC, partition), self._client, self._producer)

    async def _check_room(self, max_bytes: int, wanted: int) -> None:
        now = time.monotonic()
        if self._sized_at is None or now - self._sized_at > _SIZE_SECONDS:
            self._sized_at = now
            self._size = await self.size_bytes()
            if self._size + wanted > max_bytes:
                self._size = await self._untrimmed()
        if self._size + wanted > max_bytes:
            raise port.LogFullError(
                f"the log holds {self._size} of at most {max_bytes} bytes (retention.maxBytes):"
                " let the lanes catch up, or raise it"
            )
        self._size += wanted

    async def _end(self, name: str, partition: int) -> int:
        return (await self._client.bounds(name, partition)).end

    async def _look(self, name: str, partition: int, offset: int, wanted: port.NewRecord) -> port.Appended | None:
        """Up to where the partition ends now: whoever could have appended it earlier has ended."""
        bounds = await self._client.bounds(name, partition)
        async for piece in self._pieces(name, name, partition, max(offset, bounds.start), bounds.end):
            for record in piece.found:
                if record.offset < bounds.end and (record.producer, record.sequence) == (wanted.producer, wanted.sequence):
                    return port.Appended(offset=record.offset, append_time_microseconds=record.append_time_microseconds)
        return None

    def _check_open(self) -> None:
        if self._closed:
            raise port.LogError(f"the log {self._settings.prefix} was closed")


async def _check_there(client: kafka_client.Client, name: str) -> None:
    if await client.topic(name) is None:
        raise port.LogError(f"Kafka: there is no topic {name}: has the pipeline run on these brokers, in this namespace?")


async def _as_large(settings: kafka_settings.Settings, main: str, *, grow: bool) -> kafka_settings.Settings:
    """With as many partitions as the log has, or will have: who only looks takes it as it is."""
    client = kafka_client.Client(settings)
    await client.open()
    try:
        found = await client.topic(topics.topic_name(settings.prefix, main))
    finally:
        await client.close()
    there = len(found.leaders) if found else settings.partitions
    return dataclasses.replace(settings, partitions=max(there, settings.partitions) if grow else there)


async def _ensure(client: kafka_client.Client, settings: kafka_settings.Settings, topic: str, *, grows: bool) -> str:
    """Make the topic unless it is there, check it, and answer its id."""
    name = topics.topic_name(settings.prefix, topic)
    wanted = topics.wanted_of_snapshots(settings) if topic == kafka_snapshots.TOPIC else topics.wanted(settings)
    if await client.topic(name) is None:
        await client.create(name, wanted)
    found = await _appeared(client, name)
    if grows and len(found.leaders) < settings.partitions:
        await client.grow(name, settings.partitions)
        found = await _appeared(client, name, settings.partitions)
    if grows:
        # By a process that has been started since.
        settings = dataclasses.replace(settings, partitions=max(settings.partitions, len(found.leaders)))
    topics.check(name, settings, found.replicas, await client.configs(name), wanted)
    return found.identity


async def _appeared(client: kafka_client.Client, name: str, partitions: int = 1) -> kafka_client.Topic:
    """A topic, or a partition, that was made is known to every broker a moment later."""
    for attempt in range(_APPEARANCE_ATTEMPTS):
        found = await client.topic(name)
        if found and len(found.leaders) >= partitions and min(found.leaders) >= 0:
            return found
        await asyncio.sleep(_APPEARANCE_SECONDS * attempt)
    raise port.LogError(f"Kafka: {name} was made but has no leaders yet; are the brokers up?")
