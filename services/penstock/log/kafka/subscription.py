"""One member of a lane's consumer group.

The client rebalances in a task of its own; the listener is told in the task that polls, as the port promises: a revocation
waits, within a bound, for the next poll to hand it over. Records that came in wait here until a poll takes them, fairly by
partition, so that a poll which is cancelled loses nothing. A member that stands still though there is something to read is
replaced once; if that does not help, the lane hears of it.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiokafka
from aiokafka import abc, errors, structs

from penstock.log import port
from penstock.log.kafka import client as kafka_client
from penstock.log.kafka import records, topics
from penstock.log.kafka import settings as kafka_settings

_FETCH_SECONDS = 0.5
_RETRY_SECONDS = 0.2
_FETCH_SLACK_SECONDS = 60.0
_LOST = (errors.CommitFailedError, errors.IllegalStateError, errors.IllegalGenerationError, errors.UnknownMemberIdError)
_FATAL = (
    errors.AuthenticationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.SaslAuthenticationFailed,
    errors.TopicAuthorizationFailedError,
)


class KafkaSubscription(abc.ConsumerRebalanceListener):
    """`port.Subscription`. `open` first. A group that never committed starts at each partition's start."""

    def __init__(
        self,
        settings: kafka_settings.Settings,
        client: kafka_client.Client,
        *,
        topic: str,
        group: str,
        listener: port.AssignmentListener,
        closed: Callable[[KafkaSubscription], None],
    ) -> None:
        self._settings = settings
        self._client = client
        self._topic = topic
        self._name = topics.topic_name(settings.prefix, topic)
        self._group = topics.group_name(settings.prefix, group, topic)
        self._listener = listener
        self._closed = closed
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        self._fetching: asyncio.Task[Any] | None = None
        self._news = asyncio.Event()
        self._revoked: list[int] = []
        self._handed_over = asyncio.Event()
        self._gained: list[int] | None = None
        self._waiting: dict[int, collections.deque[port.Record]] = {}
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._sought: dict[int, int] = {}
        self._turn = 0
        self._ended = False
        self._progress_at = 0.0
        self._replaced = False

    async def open(self) -> None:
        """Join the group. Raises LogError."""
        self._progress_at = _now()
        patience = self._settings.patience
        self._consumer = consumer = aiokafka.AIOKafkaConsumer(
            **kafka_client.connection_settings(self._settings),
            group_id=self._group,
            auto_offset_reset="none",
            enable_auto_commit=False,
            max_partition_fetch_bytes=kafka_settings.MESSAGE_BYTES,
            session_timeout_ms=int(patience.session * 1_000),
            heartbeat_interval_ms=int(patience.heartbeat * 1_000),
            rebalance_timeout_ms=int(patience.rebalance * 1_000),
        )
        consumer.subscribe([self._name], listener=self)
        try:
            async with kafka_client.bounded(f"joining {self._group}", patience.rebalance + patience.delivery):
                await consumer.start()
        except BaseException:
            await self._leave()
            raise

    async def poll(self, *, max_bytes: int, timeout_seconds: float) -> Sequence[port.Record]:
        """As the port says. Raises LogError when the group or the brokers can't be had for longer than patience has it."""
        deadline = _now() + timeout_seconds
        while True:
            self._check_open()
            await self._hand_over()
            if found := self._take(max_bytes):
                self._progress_at, self._replaced = _now(), False
                return found
            await self._fetch(max(0.0, min(_FETCH_SECONDS, deadline - _now())))
            await self._watch()
            if _now() >= deadline:
                await self._hand_over()
                return self._take(max_bytes)

    def pause(self, partitions: Sequence[int]) -> None:
        """What came in already waits here; the member goes on polling for its heartbeat."""
        self._check_known(partitions)
        self._paused.update(partitions)
        self._tell_consumer(self._owned(partitions), lambda consumer, place: consumer.pause(place))

    def resume(self, partitions: Sequence[int]) -> None:
        self._check_known(partitions)
        self._paused.difference_update(partitions)
        self._tell_consumer(self._owned(partitions), lambda consumer, place: consumer.resume(place))
        self._news.set()

    def seek(self, partition: int, offset: int) -> None:
        """Also before the first poll; whether `offset` is in the log shows at the next one."""
        self._check_known([partition])
        self._harvest()
        if partition not in self._positions:
            self._sought[partition] = offset
            return
        self._waiting[partition].clear()
        self._positions[partition] = offset
        self._tell_consumer([partition], lambda consumer, place: consumer.seek(place, offset))

    async def commit(self, commits: Mapping[int, port.Commit]) -> None:
        """Raises PartitionLostError when another member owns one of them now: it will read again what isn't committed."""
        self._check_open()
        self._check_known(list(commits))
        for partition, commit in commits.items():
            if len(commit.metadata.encode()) > kafka_settings.METADATA_BYTES:
                raise port.LogError(
                    f"{self._topic}/{partition}: metadata of {len(commit.metadata.encode())} bytes; at most"
                    f" {kafka_settings.METADATA_BYTES} can be committed"
                )
        offsets = {self._at(number): structs.OffsetAndMetadata(at.offset, at.metadata) for number, at in commits.items()}
        async with kafka_client.bounded(f"committing for {self._group}", self._settings.patience.delivery):
            try:
                await self._live().commit(offsets)
            except _LOST as error:
                raise port.PartitionLostError(f"{self._group} lost {sorted(commits)} of {self._topic}: {error!r}") from error

    async def close(self) -> None:
        if not self._ended:
            self._ended = True
            self._news.set()
            self._handed_over.set()
            await self._leave()
            self._closed(self)

    async def on_partitions_revoked(self, revoked: set[structs.TopicPartition]) -> None:
        """In the client's own task: the group waits until this returns."""
        if not revoked or self._ended:
            return
        self._revoked = sorted({*self._revoked, *(place.partition for place in revoked)})
        self._handed_over.clear()
        self._news.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.patience.revocation):
                await self._handed_over.wait()

    async def on_partitions_assigned(self, assigned: set[structs.TopicPartition]) -> None:
        """In the client's own task."""
        self._gained = sorted(place.partition for place in assigned)
        self._news.set()

    async def _hand_over(self) -> None:
        """Tell the listener what the group decided since the last poll."""
        if self._revoked:
            lost, self._revoked = self._revoked, []
            self._forget(lost)
            try:
                await self._listener.on_revoked(lost)
            finally:
                self._handed_over.set()
        if self._gained is not None:
            await self._begin(self._gained)

    async def _begin(self, gained: list[int]) -> None:
        commits = await self._client.committed(self._group, self._name)
        starts = {
            number: commits[number].offset if number in commits else (await self._client.bounds(self._name, number)).start
            for number in gained
        }
        if self._gained != gained or self._revoked:
            return  # The group has changed its mind meanwhile.
        self._gained = None
        self._harvest()
        self._waiting = {number: collections.deque() for number in gained}
        self._positions = {number: self._sought.pop(number, start) for number, start in starts.items()}
        self._tell_consumer(gained, lambda consumer, place: consumer.seek(place, self._positions[place.partition]))
        self._tell_consumer(sorted(self._paused & set(gained)), lambda consumer, place: consumer.pause(place))
        self._progress_at = _now()
        await self._listener.on_assigned({number: commits.get(number) for number in gained})

    def _forget(self, lost: Sequence[int]) -> None:
        for partition in lost:
            self._waiting.pop(partition, None)
            self._positions.pop(partition, None)
            self._paused.discard(partition)

    async def _fetch(self, seconds: float) -> None:
        """Wait for records or news. The task is kept when this is cancelled: cancelling the client's own call would break it."""
        self._news.clear()
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._live().getmany(timeout_ms=int(seconds * 1_000)))
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait({self._fetching, news}, timeout=seconds + _FETCH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        if self._fetching and self._fetching.done() and (failure := self._fetching.exception()):
            self._fetching = None
            await self._survive(failure)
        self._harvest()

    def _harvest(self) -> None:
        """Take over what the client has handed out."""
        if self._fetching is None or not self._fetching.done() or self._fetching.exception():
            return
        for place, found in self._fetching.result().items():
            number = place.partition
            if number in self._positions and self._gained is None:
                self._waiting[number] += [
                    records.to_record(self._topic, number, item.offset, item.timestamp, item.value, item.headers)
                    for item in found
                ]
        self._fetching = None

    def _take(self, max_bytes: int) -> list[port.Record]:
        """An equal share of each partition that has something, beginning with another one each time."""
        ready = [number for number in sorted(self._waiting) if self._waiting[number] and number not in self._paused]
        if not ready or self._revoked:
            return []
        self._turn += 1
        ready = ready[self._turn % len(ready) :] + ready[: self._turn % len(ready)]
        taken: list[port.Record] = []
        held = 0
        for done, number in enumerate(ready, 1):
            while self._waiting[number]:
                size = len(self._waiting[number][0].value)
                if taken and held + size > max_bytes * done // len(ready):
                    break
                held += size
                taken.append(self._waiting[number].popleft())
                self._positions[number] = taken[-1].offset + 1
        return taken

    async def _survive(self, failure: BaseException) -> None:
        """The client tells of the group's troubles here. Most pass; a gap is the lane's business; the rest needs a new member."""
        match failure:
            case errors.OffsetOutOfRangeError():
                [(place, offset), *_] = dict(failure.args[0]).items()
                raise port.OffsetOutOfRangeError(f"{self._topic}/{place.partition}: offset {offset} is not in the log")
            case errors.NoOffsetForPartitionError():
                pass  # Its position is about to be set.
            case errors.CorruptRecordException():
                raise port.DamagedLogError(f"{self._topic}: {failure}")
            case errors.KafkaError() if isinstance(failure, _FATAL):
                raise port.LogError(f"Kafka: {self._group}: {failure!r}") from failure
            case errors.KafkaError():
                await asyncio.sleep(_RETRY_SECONDS)
            case _:
                await self._replace()

    async def _watch(self) -> None:
        """A member can fall silent for good after the brokers were away."""
        if _now() - self._progress_at < self._settings.patience.progress:
            return
        self._progress_at = _now()
        readable = set(self._positions) - self._paused
        behind = [number for number in readable if (await self._client.bounds(self._name, number)).end > self._positions[number]]
        if self._positions and not behind:
            return
        if behind and self._replaced:
            raise port.LogError(f"{self._group}: no records of {self._topic}/{behind} come though there are some")
        if behind:
            await self._replace()

    async def _replace(self) -> None:
        self._replaced = True
        lost = sorted(self._positions)
        await self._leave()
        if lost:
            self._forget(lost)
            await self._listener.on_revoked(lost)
        await self.open()

    async def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        fetching, self._fetching = self._fetching, None
        if consumer:
            with contextlib.suppress(port.LogError):
                async with kafka_client.bounded(f"leaving {self._group}", self._settings.patience.close):
                    await consumer.stop()
            # What `stop` could not finish in time must not keep its connections.
            with contextlib.suppress(port.LogError):
                async with kafka_client.bounded(f"leaving {self._group}", self._settings.patience.close):
                    await consumer._client.close()  # noqa: SLF001 - the client has no public way
        if fetching:
            fetching.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await fetching

    def _tell_consumer(
        self, partitions: Sequence[int], tell: Callable[[aiokafka.AIOKafkaConsumer, structs.TopicPartition], None]
    ) -> None:
        """What the group takes away at this moment needs no telling."""
        for partition in partitions:
            with contextlib.suppress(errors.IllegalStateError):
                tell(self._live(), self._at(partition))

    def _owned(self, partitions: Sequence[int]) -> list[int]:
        return [partition for partition in partitions if partition in self._positions]

    def _at(self, partition: int) -> structs.TopicPartition:
        return structs.TopicPartition(self._name, partition)

    def _live(self) -> aiokafka.AIOKafkaConsumer:
        if self._consumer is None:
            raise port.LogError(f"group {self._group}: the subscription has left its group")
        return self._consumer

    def _check_open(self) -> None:
        if self._ended:
            raise port.LogError(f"group {self._group} on {self._topic}: the subscription is closed")

    def _check_known(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            if not 0 <= partition < self._settings.partitions:
                raise port.LogError(
                    f"{self._topic}/{partition}: this log has the partitions 0 to {self._settings.partitions - 1}"
                )


def _now() -> float:
    return asyncio.get_running_loop().time()
