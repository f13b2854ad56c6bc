"""The log's own connections to the brokers, beside those of its producer and of each subscription.

Bounds, records and commits are asked for here: a consumer's own connection answers only after its open fetch. Every wait has
an end, and every failure comes out as a LogError.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import admin, errors, structs
from aiokafka.admin import config_resource
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.consumer import fetcher
from aiokafka.protocol import commit as commit_protocol
from aiokafka.protocol import fetch, group, offset
from aiokafka.record import memory_records

from penstock.log import port
from penstock.log.kafka import connection, messages, records
from penstock.log.kafka import settings as kafka_settings

_EARLIEST, _LATEST = -2, -1
_FETCH_BYTES = 64 << 10
_SETTLED_BYTES = 1 << 20
_COMMITTED = fetcher.READ_COMMITTED
_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0

_PERMANENT = (
    errors.CorruptRecordException,
    errors.IllegalArgumentError,
    errors.IncompatibleBrokerVersion,
    errors.InvalidTopicError,
    errors.MessageSizeTooLargeError,
    errors.UnsupportedVersionError,
)
"""Trouble that waiting does not end. Refused credentials are no such: they are renewed while processes run."""

_LOST = (
    errors.IllegalGenerationError,
    errors.RebalanceInProgressError,
    errors.UnknownMemberIdError,
)

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """As the cluster has it. `leaders` and `replicas`: by partition."""

    identity: str
    leaders: Sequence[int]
    replicas: Sequence[int]


def connection_settings(settings: kafka_settings.Settings) -> dict[str, Any]:
    """What every one of the client's classes is told."""
    return connection.told(settings.bootstrap, settings.security, settings.patience.request)


def new_client(settings: kafka_settings.Settings) -> AIOKafkaClient:
    """One to ask brokers with, before it has connected to any."""
    made = AIOKafkaClient(**connection_settings(settings))
    connection.keep_renewed(made, settings.security)
    return made


@contextlib.asynccontextmanager
async def bounded(what: str, seconds: float) -> AsyncIterator[None]:
    """Everything that can go wrong with a broker, as LogUnavailableError or LogError, after `seconds` at the latest."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise port.LogUnavailableError(f"Kafka: {what}: no answer within {seconds:g} s; are the brokers up?") from None
    except _PERMANENT as error:
        raise port.LogError(f"Kafka: {what}: {error!r}") from error
    except (errors.KafkaError, OSError, RuntimeError, LookupError) as error:  # The last two: on connections that just closed.
        raise port.LogUnavailableError(f"Kafka: {what}: {error!r}") from error


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """Of one generation of a group: commits in the name of another one are refused."""

    generation: int
    member: str


class Client:
    """Questions to the cluster. `open` first; used from one loop."""

    def __init__(self, settings: kafka_settings.Settings) -> None:
        self._settings = settings
        self._admin = admin.AIOKafkaAdminClient(**connection_settings(settings))
        connection.keep_renewed(self._admin._client, settings.security)  # noqa: SLF001 - it can't be given one
        self._brokers = new_client(settings)
        self._coordinators: dict[str, int] = {}
        self._reviving = asyncio.Lock()

    async def open(self) -> None:
        # Longer than the client's own waits for each broker: cut short in the middle, it would leave a connection behind.
        seconds = 3 * self._settings.patience.request * len(self._brokers.hosts)
        try:
            async with bounded(f"connecting to {self._settings.bootstrap}", seconds):
                await self._brokers.bootstrap()
                await self._admin.start()
        except port.LogUnavailableError as error:
            await self.close()
            told, patience = self._settings, self._settings.patience
            why = await connection.refusal(told.bootstrap, told.security, patience.request)
            raise port.LogUnavailableError(f"Kafka: connecting to {told.bootstrap}: {why}") if why else error from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        for client in (self._admin._client, self._brokers):  # noqa: SLF001 - its own way may wait for what can't be sent
            await connection.end(client, [], self._settings.patience.close)

    def ask_of(self, partitions: int) -> None:
        """From now on about as many of each topic."""
        self._settings = dataclasses.replace(self._settings, partitions=partitions)

    async def topic(self, name: str) -> Topic | None:
        """None when there is no such topic."""
        response = await self._ask(f"describing {name}", lambda: self._send_anywhere(messages.DescribeTopic(name)))
        [(code, _, identity, _, partitions, *_)] = response.topics
        if code == errors.UnknownTopicOrPartitionError.errno:
            return None
        _check(code, f"describing {name}")
        known = sorted((number, leader, len(replicas)) for _, number, leader, _, replicas, *_ in partitions)
        return Topic(identity=str(identity), leaders=[leader for _, leader, _ in known], replicas=[count for *_, count in known])

    async def create(self, name: str, configs: Mapping[str, str]) -> None:
        """Does nothing when somebody else was faster."""
        new = admin.NewTopic(name, self._settings.partitions, self._settings.replication, topic_configs=dict(configs))
        response = await self._ask(f"creating {name}", lambda: self._admin.create_topics([new]))
        for _, code, message, *_ in response.topic_errors:
            if code not in (0, errors.TopicAlreadyExistsError.errno):
                raise port.LogError(f"Kafka: creating {name}: {errors.for_code(code).__name__}: {message}")

    async def grow(self, name: str, partitions: int) -> None:
        """Does nothing when somebody else was faster."""
        wanted = {name: admin.NewPartitions(total_count=partitions)}
        try:
            await self._ask(f"giving {name} {partitions} partitions", lambda: self._admin.create_partitions(wanted))
        except port.LogError as error:
            if not isinstance(error.__cause__, errors.InvalidPartitionsError):
                raise

    async def configs(self, name: str) -> dict[str, str]:
        """Asked again while the broker that is asked has not heard of a topic which was made a moment ago."""
        resource = config_resource.ConfigResource(config_resource.ConfigResourceType.TOPIC, name)

        async def ask() -> dict[str, str]:
            found: dict[str, str] = {}
            for answer in await self._admin.describe_configs([resource]):
                for code, _, _, _, entries in answer.resources:
                    if code:
                        raise errors.for_code(code)(name)
                    found |= {entry[0]: entry[1] for entry in entries}
            return found

        return await self._ask(f"reading the settings of {name}", ask)

    async def bounds(self, name: str, partition: int, isolation: int = 0) -> port.Bounds:
        """The end is where a transaction is still open for who asks with the isolation of committed records."""
        start, end = [await self._offset(name, partition, which, isolation) for which in (_EARLIEST, _LATEST)]
        return port.Bounds(start=start, end=end)

    async def offset_at(self, name: str, partition: int, milliseconds: int) -> int | None:
        """Of the first record with this timestamp or a later one; None where there is none."""
        found = await self._offset(name, partition, milliseconds)
        return None if found < 0 else found

    async def committed(self, group_name: str, name: str) -> dict[int, port.Commit]:
        """Not asked of the client's own way, which takes a coordinator that has just moved for a group without commits."""
        request = commit_protocol.OffsetFetchRequest(group_name, [(name, list(range(self._settings.partitions)))])

        async def ask() -> Any:
            response = await self._send_to_coordinator(group_name, request)
            self._check_coordinator(group_name, response.error_code)
            for _, partitions in response.topics:
                for *_, code in partitions:
                    self._check_coordinator(group_name, code)
            return response.topics

        return {
            number: port.Commit(offset=at, metadata=metadata or "")
            for topic, partitions in await self._ask(f"reading the commits of {group_name}", ask)
            for number, at, metadata, _ in partitions
            if topic == name and at >= 0
        }

    async def commit(self, group_name: str, name: str, by: Membership, commits: Mapping[int, port.Commit]) -> None:
        """In the name of exactly this membership. Raises PartitionLostError when the group has gone on without it."""
        places = [(number, commit.offset, commit.metadata) for number, commit in sorted(commits.items())]
        request = commit_protocol.OffsetCommitRequest(group_name, by.generation, by.member, -1, [(name, places)])

        async def ask() -> None:
            response = await self._send_to_coordinator(group_name, request)
            for _, partitions in response.topics:
                for _, code in partitions:
                    self._check_coordinator(group_name, code)

        try:
            await self._ask(f"committing for {group_name}", ask)
        except port.LogError as error:
            if isinstance(error.__cause__, _LOST):
                raise port.PartitionLostError(f"{group_name} lost {sorted(commits)} of {name}: {error.__cause__!r}") from error
            raise

    async def commit_for(self, group_name: str, name: str, commits: Mapping[int, port.Commit]) -> None:
        """In nobody's name, which the brokers take for a group without members only. Raises GroupInUseError."""
        try:
            await self.commit(group_name, name, Membership(generation=-1, member=""), commits)
        except port.PartitionLostError as error:
            raise port.GroupInUseError(f"{group_name} has members, and only they may commit for it") from error

    async def leave(self, group_name: str, member: str) -> None:
        """The group goes on at once, instead of when the member's session has run out. Once: it matters little."""
        with contextlib.suppress(port.LogError):
            async with bounded(f"leaving {group_name}", self._settings.patience.close):
                await self._send_to_coordinator(group_name, group.LeaveGroupRequest(group_name, member))

    async def delete_below(self, name: str, partition: int, before: int) -> None:
        below = {structs.TopicPartition(name, partition): admin.RecordsToDelete(before_offset=before)}
        await self._ask(f"trimming {name}/{partition}", lambda: self._admin.delete_records(below))

    async def sizes(self, names: Sequence[str]) -> dict[tuple[str, int], int]:
        """Bytes of one copy of each partition, by topic and number: of the largest that a broker has."""
        largest: dict[tuple[str, int], int] = collections.defaultdict(int)
        for broker in self._brokers.cluster.brokers():
            request = messages.DescribeLogDirs(list(names), self._settings.partitions)
            response = await self._ask("reading sizes", lambda node=broker.nodeId, ask=request: self._brokers.send(node, ask))  # type: ignore[misc]
            for code, _, topics in response.folders:
                _check(code, "reading sizes")
                for name, partitions in topics:
                    for number, size, *_ in partitions:
                        largest[name, number] = max(largest[name, number], size)
        return largest

    async def fetch(self, topic: str, name: str, partition: int, start: int, max_bytes: int) -> list[port.Record]:
        """Some records from `start` on, none at the end. Raises OffsetOutOfRangeError, DamagedLogError where the first is."""
        while True:
            _, content = await self._fetch(name, partition, start, max_bytes)
            found = records.until_damaged(
                records.to_record(topic, partition, item.offset, item.timestamp, item.value, item.headers)
                for batch in records.batches(name, partition, content)
                for item in records.items(name, partition, batch)
                if item.offset >= start
            )
            # Where somebody's transaction ended a fetch may bring nothing else.
            following = start if found else records.behind(name, partition, start, content)
            if following == start:
                return found
            start = following

    async def fetch_readable(self, topic: str, name: str, partition: int, start: int, max_bytes: int) -> records.Piece:
        """As `fetch`, damaged ones apart. To go on from `following`, which is `start` at the end."""
        _, content = await self._fetch(name, partition, start, max_bytes)
        return records.readable(topic, name, partition, start, content)

    async def fetch_keyed(self, name: str, partition: int, start: int) -> tuple[list[tuple[bytes, bytes | None]], int]:
        """Keys and values of a compacted topic, and the offset to go on from, which is `start` at the end."""
        _, content = await self._fetch(name, partition, start, kafka_settings.MESSAGE_BYTES)
        found: list[tuple[bytes, bytes | None]] = []
        for batch in records.batches(name, partition, content):
            found += [(item.key or b"", item.value) for item in records.items(name, partition, batch) if item.offset >= start]
        return found, max(start, records.behind(name, partition, start, content))

    async def fetch_settled(self, name: str, partition: int, start: int) -> tuple[list[structs.ConsumerRecord[Any, Any]], int]:
        """Some records that others wrote, without those of transactions that were given up, and the offset to go on from.

        That is `start` at the end, or where a transaction is still open. Raises OffsetOutOfRangeError, DamagedLogError, LogError.
        """
        aborted, content = await self._fetch(name, partition, start, _SETTLED_BYTES, _COMMITTED)
        place = structs.TopicPartition(name, partition)
        batches = memory_records.MemoryRecords(content)
        reader = fetcher.PartitionRecords(place, batches, aborted, start, None, None, True, _COMMITTED)
        try:
            return list(reader), reader.next_fetch_offset
        except errors.CorruptRecordException as error:
            raise port.DamagedLogError(f"{name}/{partition}: {error}") from error
        except errors.UnsupportedCodecError as error:
            raise port.LogError(f"{name}/{partition}: the records from {start} on are compressed: {error}") from error

    async def _fetch(self, name: str, partition: int, start: int, max_bytes: int, isolation: int = 0) -> tuple[Any, bytes]:
        """Which transactions were given up, and the batches."""
        wanted = [(name, [(partition, start, max(max_bytes, _FETCH_BYTES))])]

        async def ask() -> Any:
            request = fetch.FetchRequest(0, 0, max(max_bytes, _FETCH_BYTES), isolation, wanted)
            return _only_partition((await self._send_to_leader(name, partition, request)).topics)

        _, code, *told, content = await self._ask(f"reading {name}/{partition}", ask)
        if code == errors.OffsetOutOfRangeError.errno:
            raise port.OffsetOutOfRangeError(f"{name}/{partition}: offset {start} is not in the log")
        return next((one for one in told if isinstance(one, list)), None), bytes(content or b"")

    async def _offset(self, name: str, partition: int, which: int, isolation: int = 0) -> int:
        async def ask() -> int:
            request = offset.OffsetRequest(-1, isolation, [(name, [(partition, which)])])
            response = await self._send_to_leader(name, partition, request)
            _, _, _, found, *_ = _only_partition(response.topics)
            return int(found)

        return await self._ask(f"reading the bounds of {name}/{partition}", ask)

    async def _send_anywhere(self, request: Any) -> Any:
        return await self._brokers.send(self._brokers.get_random_node(), request)

    async def _send_to_leader(self, name: str, partition: int, request: Any) -> Any:
        self._brokers.add_topic(name)
        place = structs.TopicPartition(name, partition)
        if self._brokers.cluster.leader_for_partition(place) in (None, -1):
            await self._brokers.force_metadata_update()
        leader = self._brokers.cluster.leader_for_partition(place)
        if leader is None or leader == -1:
            raise errors.LeaderNotAvailableError(name)
        response = await self._brokers.send(leader, request)
        code = _only_partition(response.topics)[1]
        if code != errors.OffsetOutOfRangeError.errno and code:
            raise errors.for_code(code)(name)
        return response

    async def _send_to_coordinator(self, group_name: str, request: Any) -> Any:
        if group_name not in self._coordinators:
            self._coordinators[group_name] = await self._brokers.coordinator_lookup(CoordinationType.GROUP, group_name)
        try:
            return await self._brokers.send(self._coordinators[group_name], request)
        except errors.KafkaError:
            self._coordinators.pop(group_name, None)
            raise

    def _check_coordinator(self, group_name: str, code: int) -> None:
        if code:
            self._coordinators.pop(group_name, None)
            raise errors.for_code(code)(group_name)

    async def _ask(self, what: str, question: Callable[[], Awaitable[_Result]]) -> _Result:
        """Asked again, within patience, while the brokers are away or busy with changing places."""
        last: errors.KafkaError | None = None
        try:
            async with bounded(what, self._settings.patience.delivery):
                for attempt in itertools.count():
                    try:
                        await self._revive()
                        return await question()
                    except errors.KafkaError as error:
                        if not (error.retriable or isinstance(error, errors.NodeNotReadyError)):
                            raise
                        last = error
                    await asyncio.sleep(min(_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS))
                    await self._brokers.force_metadata_update()
        except port.LogUnavailableError as error:
            if last is None or error.__cause__ is not None:
                raise
            raise port.LogUnavailableError(f"{error} The last answer: {last!r}") from last
        raise AssertionError("it goes on until it is answered or out of time")

    async def _revive(self) -> None:
        """A client whose own task has died would never learn of another leader."""
        task = self._brokers._sync_task  # noqa: SLF001
        if task and not task.done():
            return
        async with self._reviving:
            if self._brokers._sync_task is task:  # noqa: SLF001
                await connection.end(self._brokers, [], self._settings.patience.close)
                self._brokers = new_client(self._settings)
                await self._brokers.bootstrap()


def _only_partition(topics: Sequence[Any]) -> Any:
    [(_, [partition])] = topics
    return partition


def _check(code: int, what: str) -> None:
    if code:
        kind = errors.for_code(code)
        raised = port.LogUnavailableError if kind.retriable else port.LogError
        raise raised(f"Kafka: {what}: {kind.__name__}")
