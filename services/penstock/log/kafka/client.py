"""The log's own connections to the brokers, beside those of its producer and of each subscription.

Bounds, records and commits are asked for here: a consumer's own connection answers only after its open fetch. Every wait has
an end, and every failure comes out as a LogError.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import admin, errors, structs
from aiokafka.admin import config_resource
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol import fetch, offset
from aiokafka.record import memory_records

from penstock.log import port
from penstock.log.kafka import messages, records
from penstock.log.kafka import settings as kafka_settings

_EARLIEST, _LATEST = -2, -1
_FETCH_BYTES = 64 << 10
_ATTEMPTS = 4
_PAUSE_SECONDS = 0.2

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """As the cluster has it. `leaders` and `replicas`: by partition."""

    identity: str
    leaders: Sequence[int]
    replicas: Sequence[int]


def connection_settings(settings: kafka_settings.Settings) -> dict[str, Any]:
    """What every one of the client's classes is told."""
    login = settings.security.login
    told: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap,
        "client_id": "penstock",
        "request_timeout_ms": int(settings.patience.request * 1_000),
        "security_protocol": settings.security.protocol,
        "ssl_context": settings.security.tls,
    }
    if login:
        told |= {
            "sasl_mechanism": login.mechanism.value,
            "sasl_plain_username": login.user,
            "sasl_plain_password": login.password,
        }
    return told


@contextlib.asynccontextmanager
async def bounded(what: str, seconds: float) -> AsyncIterator[None]:
    """Everything that can go wrong with a broker, as LogError, after `seconds` at the latest."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise port.LogError(f"Kafka: {what}: no answer within {seconds:g} s; are the brokers up?") from None
    except (errors.KafkaError, OSError) as error:
        raise port.LogError(f"Kafka: {what}: {error!r}") from error


class Client:
    """Questions to the cluster. `open` first; used from one loop."""

    def __init__(self, settings: kafka_settings.Settings) -> None:
        self._settings = settings
        self._admin = admin.AIOKafkaAdminClient(**connection_settings(settings))
        self._brokers = AIOKafkaClient(**connection_settings(settings))

    async def open(self) -> None:
        try:
            async with bounded(f"connecting to {self._settings.bootstrap}", self._settings.patience.request):
                await self._brokers.bootstrap()
                await self._admin.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        with contextlib.suppress(port.LogError):
            async with bounded("closing", self._settings.patience.close):
                await self._admin.close()
                await self._brokers.close()

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

    async def configs(self, name: str) -> dict[str, str]:
        resource = config_resource.ConfigResource(config_resource.ConfigResourceType.TOPIC, name)
        answers = await self._ask(f"reading the settings of {name}", lambda: self._admin.describe_configs([resource]))
        found: dict[str, str] = {}
        for answer in answers:
            for code, _, _, _, entries in answer.resources:
                _check(code, f"reading the settings of {name}")
                found |= {entry[0]: entry[1] for entry in entries}
        return found

    async def bounds(self, name: str, partition: int) -> port.Bounds:
        start, end = [await self._offset(name, partition, which) for which in (_EARLIEST, _LATEST)]
        return port.Bounds(start=start, end=end)

    async def committed(self, group: str, name: str) -> dict[int, port.Commit]:
        found = await self._ask(f"reading the commits of {group}", lambda: self._admin.list_consumer_group_offsets(group))
        return {
            place.partition: port.Commit(offset=at.offset, metadata=at.metadata or "")
            for place, at in found.items()
            if place.topic == name and at.offset >= 0
        }

    async def delete_below(self, name: str, partition: int, before: int) -> None:
        below = {structs.TopicPartition(name, partition): admin.RecordsToDelete(before_offset=before)}
        await self._ask(f"trimming {name}/{partition}", lambda: self._admin.delete_records(below))

    async def size_bytes(self, names: Sequence[str]) -> int:
        """Of one copy of each partition: the largest that a broker has."""
        largest: dict[tuple[str, int], int] = collections.defaultdict(int)
        for broker in self._brokers.cluster.brokers():
            request = messages.DescribeLogDirs(list(names), self._settings.partitions)
            response = await self._ask("reading sizes", lambda node=broker.nodeId, ask=request: self._brokers.send(node, ask))  # type: ignore[misc]
            for code, _, topics in response.folders:
                _check(code, "reading sizes")
                for name, partitions in topics:
                    for number, size, *_ in partitions:
                        largest[name, number] = max(largest[name, number], size)
        return sum(largest.values())

    async def fetch(self, topic: str, name: str, partition: int, start: int, max_bytes: int) -> list[port.Record]:
        """Some records from `start` on, none at the end. Raises OffsetOutOfRangeError, DamagedLogError."""
        content = await self._fetch(name, partition, start, max_bytes)
        return [
            records.to_record(topic, partition, item.offset, item.timestamp, item.value, item.headers)
            for batch in _batches(name, partition, content)
            for item in batch
            if item.offset >= start
        ]

    async def fetch_keyed(self, name: str, partition: int, start: int) -> tuple[list[tuple[bytes, bytes | None]], int]:
        """Keys and values of a compacted topic, and the offset to go on from, which is `start` at the end."""
        content = await self._fetch(name, partition, start, kafka_settings.MESSAGE_BYTES)
        found: list[tuple[bytes, bytes | None]] = []
        following = start
        for batch in _batches(name, partition, content):
            found += [(item.key, item.value) for item in batch if item.offset >= start]
            following = max(following, batch.next_offset)
        return found, following

    async def _fetch(self, name: str, partition: int, start: int, max_bytes: int) -> bytes:
        wanted = [(name, [(partition, start, max(max_bytes, _FETCH_BYTES))])]

        async def ask() -> Any:
            request = fetch.FetchRequest(0, 0, max(max_bytes, _FETCH_BYTES), 0, wanted)
            return _only_partition((await self._send_to_leader(name, partition, request)).topics)

        _, code, *_, content = await self._ask(f"reading {name}/{partition}", ask)
        if code == errors.OffsetOutOfRangeError.errno:
            raise port.OffsetOutOfRangeError(f"{name}/{partition}: offset {start} is not in the log")
        return bytes(content or b"")

    async def _offset(self, name: str, partition: int, which: int) -> int:
        async def ask() -> int:
            response = await self._send_to_leader(name, partition, offset.OffsetRequest(-1, 0, [(name, [(partition, which)])]))
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

    async def _ask(self, what: str, question: Callable[[], Awaitable[_Result]]) -> _Result:
        """Asked again, a few times, where the brokers were only busy with changing places."""
        async with bounded(what, self._settings.patience.delivery):
            for attempt in range(_ATTEMPTS):
                try:
                    return await question()
                except errors.KafkaError as error:
                    if not (error.retriable or isinstance(error, errors.NodeNotReadyError)) or attempt == _ATTEMPTS - 1:
                        raise
                    await asyncio.sleep(_PAUSE_SECONDS * 2**attempt)
                    await self._brokers.force_metadata_update()
        raise AssertionError("the last attempt returns or raises")


def _batches(name: str, partition: int, content: bytes) -> Iterator[Any]:
    """Whole batches come, the first perhaps from before what was asked for."""
    batches = memory_records.MemoryRecords(content)
    while batches.has_next():
        batch = batches.next_batch()
        if not batch.validate_crc():
            raise port.DamagedLogError(f"{name}/{partition}: the checksum of the records from {batch.base_offset} on is wrong")
        if not batch.is_control_batch:
            yield batch


def _only_partition(topics: Sequence[Any]) -> Any:
    [(_, [partition])] = topics
    return partition


def _check(code: int, what: str) -> None:
    if code:
        raise port.LogError(f"Kafka: {what}: {errors.for_code(code).__name__}")
