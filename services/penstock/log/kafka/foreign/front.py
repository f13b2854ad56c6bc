"""The `EventLog` over topics that others write: a pipeline's events are their records.

Nothing is ever written to them or deleted from them. What the pipeline itself writes, such as dead letters, goes to a log of
its own beside them, with as many partitions. A run of records (core.records) stands for a block, so lanes read both alike.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa
from aiokafka import errors

from penstock.core import blocks, lineage
from penstock.core.records import layout
from penstock.log import port
from penstock.log.kafka import client as kafka_client
from penstock.log.kafka import member as kafka_member
from penstock.log.kafka import settings as kafka_settings
from penstock.log.kafka import subscription as kafka_subscription
from penstock.log.kafka import topics
from penstock.log.kafka.foreign import desk, expiring, fetching, member, pages, places

_STAMPED = "LogAppendTime"
_TIMES = "message.timestamp.type"
_HEADER_OFFSETS = 10_000
_PAGE_BYTES = 4 << 20
_LEAST_BYTES = 64 << 10


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`kafka.prefix` begins the names of groups; its other names and sizes are not used here."""

    kafka: kafka_settings.Settings
    topics: tuple[str, ...]
    start: desk.StartFrom = dataclasses.field(default_factory=desk.StartFrom)
    committed: bool = True


class Learner(Protocol):
    """Whoever must know something of records before they can be read, such as the schemas they name."""

    async def learn(self, rows: pa.RecordBatch) -> None:
        """Raises LogUnavailableError while it can't be known."""


class Own(port.EventLog, Protocol):
    """The log beside."""

    async def grow(self, partitions: int) -> None:
        """Have at least as many from now on, behind those there are. Raises LogError."""


class _Nothing:
    async def learn(self, rows: pa.RecordBatch) -> None:
        """Nothing needs to be known."""


class ForeignLog:
    """`port.EventLog`. Groups are named as those of a log of our own, each over all of the source's topics."""

    def __init__(
        self,
        settings: Settings,
        client: kafka_client.Client,
        divided: places.Places,
        own: Own,
        *,
        identity: str,
        stamped: bool,
        learner: Learner | None = None,
    ) -> None:
        """`stamped`: whether the brokers stamp the time of arrival on all topics."""
        self.learner = learner or _Nothing()
        self._settings, self._client, self._own = settings, client, own
        self._identity, self._stamped = identity, stamped
        self._fetcher = fetching.Fetcher(settings.kafka, committed=settings.committed)
        self._fetching = asyncio.Lock()
        self._subscriptions: set[kafka_subscription.KafkaSubscription] = set()
        self._divide(divided)

    def _divide(self, divided: places.Places) -> None:
        """What is asked by the numbers of the log is asked of these topics, each so large."""
        settings, self._places = self._settings, divided
        self._client.ask_of(divided.most)
        self._kafka = dataclasses.replace(settings.kafka, partitions=divided.partitions)
        self._desk = desk.Desk(self._client, divided, settings.start, committed=settings.committed)
        self._expiring = expiring.Expiring(self._client, divided, self._desk, lambda number, at: self._fetched(number, at, 1))

    @classmethod
    async def open(cls, settings: Settings, own: Callable[[int], Awaitable[Own]], learner: Learner | None = None) -> ForeignLog:
        """`own` opens the log beside, with so many partitions; it is closed with this one.

        Raises LogError for a topic that isn't there.
        """
        client = kafka_client.Client(settings.kafka)
        await client.open()
        try:
            found = [await _found(client, name) for name in settings.topics]
            divided = places.Places(topics=settings.topics, counts=[len(one.leaders) for one in found])
            stamped = [(await client.configs(name)).get(_TIMES) == _STAMPED for name in settings.topics]
            identity = _identity([one.identity for one in found])
            beside = await own(divided.partitions)
            return cls(settings, client, divided, beside, identity=identity, stamped=all(stamped), learner=learner)
        except BaseException:
            await client.close()
            raise

    @property
    def log_id(self) -> str:
        """Kafka's id of the topic, or of all of them: another one when any is made again."""
        return self._identity

    @property
    def known_as(self) -> lineage.Lineage:
        return lineage.Lineage(log_id=self._identity)

    @property
    def partitions(self) -> int:
        """As many as there are numbers; more where the log beside had more to do before."""
        return max(self._places.partitions, self._own.partitions)

    async def append(self, topic: str, partition: int, record: port.NewRecord) -> port.Appended:
        if topic == port.EVENTS:
            raise port.LogError(f"{', '.join(self._places.topics)}: nothing is written to the topics of a source")
        return await self._own.append(topic, partition, record)

    async def subscribe(self, topic: str, group: str, listener: port.AssignmentListener) -> port.Subscription:
        if topic != port.EVENTS:
            return await self._own.subscribe(topic, group, listener)
        subscription = kafka_subscription.KafkaSubscription(
            self._kafka,
            self._desk,  # type: ignore[arg-type]  # answers what a subscription asks, by number
            topic=topic,
            group=group,
            listener=listener,
            closed=self._subscriptions.discard,
            reading=self,
        )
        await self._desk.begin(self._group(group))
        await subscription.open()
        self._subscriptions.add(subscription)
        return subscription

    async def has_grown(self) -> bool:
        """Whether a topic has more partitions than are read. Raises LogError."""
        return await self._counted() != list(self._places.counts)

    async def grow(self) -> None:
        """Later subscriptions read what was added to the topics as well. Raises LogError, also while there is a subscription."""
        if self._subscriptions:
            raise port.LogError(f"{', '.join(self._places.topics)}: new partitions are taken in while nobody reads")
        divided = places.Places(topics=self._places.topics, counts=await self._counted())
        await self._own.grow(divided.partitions)
        self._divide(divided)

    async def _counted(self) -> list[int]:
        """Partitions of each topic. One that was made again with fewer is the business of who reads it."""
        found = [await _found(self._client, name) for name in self._places.topics]
        return [max(len(one.leaders), was) for one, was in zip(found, self._places.counts, strict=True)]

    # -- what a subscription is told of reading

    def member(self, group: str, news: Callable[[], None]) -> kafka_member.Member:
        settings = self._settings
        return member.Member(settings.kafka, self._places, group, news, committed=settings.committed, learn=self.learner.learn)

    def size(self, item: Any) -> int:
        return int(item.rows.nbytes)

    def record(self, number: int, item: Any) -> port.Record:
        return self._run(number, item)

    # -- reading without a group

    async def read(self, topic: str, partition: int, offset: int, *, max_bytes: int) -> Sequence[port.Record]:
        if topic != port.EVENTS:
            return [] if self._is_new(partition) else await self._own.read(topic, partition, offset, max_bytes=max_bytes)
        found: list[port.Record] = []
        held, end = 0, (await self.bounds(topic, partition)).end
        while offset < end and held < max_bytes and (page := await self._page(partition, offset, max(max_bytes, _LEAST_BYTES))):
            found += [self._run(partition, page)] if page.rows.num_rows else []
            held, offset = held + page.rows.nbytes, page.end
        return found

    async def headers(self, topic: str, partition: int, before: int, *, limit: int) -> Sequence[port.Record]:
        """Runs without their rows. Kafka has no way to leave the values out, so a stretch is read and dropped."""
        if topic != port.EVENTS:
            return [] if self._is_new(partition) else await self._own.headers(topic, partition, before, limit=limit)
        bounds = await self.bounds(topic, partition)
        before, wanted = min(before, bounds.end), _HEADER_OFFSETS if limit > 1 else 1
        while bounds.start < before:
            found: list[port.Record] = []
            offset = max(bounds.start, before - wanted)
            # At least one batch of records comes whatever is asked for.
            while offset < before and (page := await self._page(partition, offset, _PAGE_BYTES if wanted > 1 else 1)):
                found += [_emptied(self._run(partition, _cut(page, before)))]
                offset = page.end
            if any(blocks.told_rows(one.headers) for one in found):
                return [one for one in found[::-1] if blocks.told_rows(one.headers)]
            before, wanted = max(bounds.start, before - wanted), _HEADER_OFFSETS
        return []

    async def damaged(self, topic: str, partition: int, start: int, end: int) -> Sequence[port.Damaged]:
        """Nothing of the source is left out: what its records hold is the business of the lane that reads them."""
        if topic == port.EVENTS or self._is_new(partition):
            return []
        return await self._own.damaged(topic, partition, start, end)

    async def bounds(self, topic: str, partition: int) -> port.Bounds:
        if topic != port.EVENTS:
            return port.Bounds(start=0, end=0) if self._is_new(partition) else await self._own.bounds(topic, partition)
        return await self._desk.bounds("", partition)

    async def committed(self, topic: str, group: str) -> Mapping[int, port.Commit]:
        if topic != port.EVENTS:
            return await self._own.committed(topic, group)
        return await self._desk.committed(self._group(group), "")

    async def commit_for(self, topic: str, group: str, commits: Mapping[int, port.Commit]) -> None:
        if topic != port.EVENTS:
            return await self._own.commit_for(topic, group, commits)
        return await self._desk.commit_for(self._group(group), "", commits)

    # -- what lives beside the topics

    async def save_snapshot(self, topic: str, group: str, partition: int, snapshot: port.Snapshot) -> None:
        await self._own.save_snapshot(topic, group, partition, snapshot)

    async def load_snapshot(self, topic: str, group: str, partition: int, at_most: int) -> port.Snapshot | None:
        return await self._own.load_snapshot(topic, group, partition, at_most)

    async def snapshot_offsets(self, topic: str, group: str, partition: int) -> Sequence[int]:
        return await self._own.snapshot_offsets(topic, group, partition)

    async def forget_snapshots(self, topic: str, group: str, partition: int) -> None:
        await self._own.forget_snapshots(topic, group, partition)

    async def trim(self, topic: str, partition: int, before: int) -> None:
        """Of the source nothing is trimmed, whoever asks."""
        if topic != port.EVENTS:
            await self._own.trim(topic, partition, before)

    async def size_bytes(self) -> int:
        """Of what is beside the topics."""
        return await self._own.size_bytes()

    async def close(self) -> None:
        for subscription in list(self._subscriptions):
            await subscription.close()
        await self._fetcher.close()
        await self._client.close()
        await self._own.close()

    def _is_new(self, partition: int) -> bool:
        """Whether the topics have grown since the log beside was opened for writing: who only looks finds nothing there."""
        return partition >= self._own.partitions

    def _group(self, group: str) -> str:
        return topics.group_name(self._kafka.prefix, group, port.EVENTS)

    async def retention_used(self, finished: Mapping[int, int]) -> float:
        """Of what the topics keep, by age and size, the share that lies before the oldest unread record: at 1 it may be deleted.

        `finished`: by partition, the lowest offset that isn't. Raises LogError.
        """
        return await self._expiring.used(finished)

    async def _page(self, partition: int, offset: int, max_bytes: int) -> pages.Page | None:
        found = await self._fetched(partition, offset, max_bytes)
        if found is not None:
            await self.learner.learn(found.rows)
        return found

    async def _fetched(self, partition: int, offset: int, max_bytes: int) -> pages.Page | None:
        place = self._places.place(partition)
        if place is None:
            return None
        try:
            async with self._fetching, kafka_client.bounded(f"reading {_shown(place)}", self._kafka.patience.delivery):
                return (await self._fetcher.fetch({place: offset}, wait_seconds=0.0, max_bytes=max_bytes)).get(place)
        except port.LogError as error:
            if isinstance(error.__cause__, errors.OffsetOutOfRangeError):
                raise port.OffsetOutOfRangeError(f"{_shown(place)}: offset {offset} is not in the topic") from error
            if isinstance(error.__cause__, errors.CorruptRecordException):
                raise port.DamagedLogError(str(error.__cause__)) from error
            raise

    def _run(self, number: int, page: pages.Page) -> port.Record:
        rows = page.rows
        stamp = int(layout.integers(rows, layout.TIMESTAMP)[-1]) * 1_000 if self._stamped and rows.num_rows else 0
        header = blocks.BlockHeader(
            format_version=blocks.FORMAT_VERSION,
            fingerprint="",
            rows=rows.num_rows,
            compression=blocks.Compression.STREAM,
            stream_bytes=rows.nbytes,
        )
        return port.Record(
            topic=port.EVENTS,
            partition=number,
            offset=page.start,
            append_time_microseconds=stamp,
            value=b"",
            headers=header.to_headers() | self._place_headers(number),
            producer="",
            sequence=0,
            span=page.end - page.start,
            rows=rows,
        )

    def _place_headers(self, number: int) -> dict[str, bytes]:
        place = self._places.place(number)
        return {port.TOPIC: place.topic.encode(), port.PARTITION: b"%d" % place.partition} if place else {}


async def _found(client: kafka_client.Client, name: str) -> kafka_client.Topic:
    found = await client.topic(name)
    if found is None:
        raise port.LogError(f"spec.source.kafka.topics: there is no topic {name}, or this user may not see it")
    return found


def _identity(of_topics: Sequence[str]) -> str:
    """Of several, a digest: addresses need one short name."""
    if len(of_topics) == 1:
        return of_topics[0]
    return hashlib.blake2b("\n".join(of_topics).encode(), digest_size=16).hexdigest()


def _shown(place: places.Place) -> str:
    return f"{place.topic}/{place.partition}"


def _cut(page: pages.Page, before: int) -> pages.Page:
    return dataclasses.replace(page, end=min(page.end, before), rows=layout.until(page.rows, before))


def _emptied(record: port.Record) -> port.Record:
    return dataclasses.replace(record, rows=None)
