"""Records straight from the partitions' leaders, several partitions in one question.

With connections of its own: a broker answers the questions of one connection in their order, and these may wait for news.
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from aiokafka import errors, structs
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol import fetch

from penstock.log.kafka import client as kafka_client
from penstock.log.kafka import connection
from penstock.log.kafka import settings as kafka_settings
from penstock.log.kafka.foreign import pages
from penstock.telemetry import metrics

_FENCED_EPOCH, _UNKNOWN_EPOCH, _NOT_AVAILABLE = 74, 76, 78
_MOVED = (
    errors.LeaderNotAvailableError.errno,
    errors.NotLeaderForPartitionError.errno,
    errors.ReplicaNotAvailableError.errno,
    errors.UnknownTopicOrPartitionError.errno,
    _FENCED_EPOCH,
    _UNKNOWN_EPOCH,
    _NOT_AVAILABLE,
)
"""Answers of a broker that does not lead the partition, or not yet: another one is asked next time."""
_ANSWER_BYTES = 16 << 20

Place: TypeAlias = structs.TopicPartition
Answer: TypeAlias = tuple[Any, ...]
Wanted: TypeAlias = Mapping[Place, int]


class Fetcher:
    """Used from one task at a time. `committed`: records of aborted or unfinished transactions are left out."""

    def __init__(self, settings: kafka_settings.Settings, *, committed: bool) -> None:
        self._settings, self._committed = settings, committed
        self._brokers: AIOKafkaClient | None = None

    async def fetch(self, wanted: Wanted, *, wait_seconds: float, max_bytes: int) -> dict[Place, pages.Page]:
        """What there is from each offset on; a partition that has nothing new, or no leader now, is left out.

        Raises a KafkaError: OffsetOutOfRangeError with the offset by place, CorruptRecordException, or trouble that may pass.
        """
        try:
            async with asyncio.timeout(self._settings.patience.request + wait_seconds):
                brokers = await self._connected()
                by_leader = await self._by_leader(brokers, wanted)
                asked = (self._ask(brokers, leader, mine, wait_seconds, max_bytes) for leader, mine in by_leader.items())
                answers = [answer for found in await asyncio.gather(*asked) for answer in found]
        except (TimeoutError, OSError, RuntimeError, LookupError) as error:  # The last two: on connections that just closed.
            await self.close()
            raise errors.KafkaConnectionError(f"reading {_named(wanted)}: {error!r}") from error
        except BaseException:
            await self.close()
            raise
        return await self._read(wanted, answers)

    async def close(self) -> None:
        brokers, self._brokers = self._brokers, None
        if brokers:
            await connection.end(brokers, [], self._settings.patience.close)

    async def _connected(self) -> AIOKafkaClient:
        task = self._brokers._sync_task if self._brokers else None  # noqa: SLF001 - else it would learn of no other leader
        if self._brokers is None or task is None or task.done():
            await self.close()
            self._brokers = kafka_client.new_client(self._settings)
            await self._brokers.bootstrap()
        return self._brokers

    async def _by_leader(self, brokers: AIOKafkaClient, wanted: Wanted) -> dict[int, dict[Place, int]]:
        await brokers.set_topics({place.topic for place in wanted})
        found: dict[int, dict[Place, int]] = collections.defaultdict(dict)
        for place, offset in wanted.items():
            leader = brokers.cluster.leader_for_partition(place)
            if leader is not None and leader != -1:
                found[leader][place] = offset
        if not found:
            await brokers.force_metadata_update()
            raise errors.LeaderNotAvailableError(_named(wanted))
        return found

    async def _ask(
        self, brokers: AIOKafkaClient, leader: int, wanted: Wanted, wait_seconds: float, max_bytes: int
    ) -> list[tuple[Place, Answer]]:
        topics: dict[str, list[tuple[int, int, int]]] = collections.defaultdict(list)
        for place, offset in wanted.items():
            topics[place.topic].append((place.partition, offset, max_bytes))
        isolation = 1 if self._committed else 0
        request = fetch.FetchRequest(int(wait_seconds * 1_000), 1, max(_ANSWER_BYTES, max_bytes), isolation, list(topics.items()))
        response = await brokers.send(leader, request)
        return [(Place(topic, answer[0]), answer) for topic, found in response.topics for answer in found]

    async def _read(self, wanted: Wanted, answers: Sequence[tuple[Place, Answer]]) -> dict[Place, pages.Page]:
        found: dict[Place, pages.Page] = {}
        gone: dict[Place, int] = {}
        for place, (_, code, *rest, content) in answers:
            if code == errors.OffsetOutOfRangeError.errno:
                gone[place] = wanted[place]
            elif code in _MOVED:
                await self.close()
            elif code:
                raise errors.for_code(code)(_named([place]))
            elif content:
                # Offsets come as plain numbers; the one list is that of the aborted transactions.
                aborted = next((part for part in rest if isinstance(part, list)), []) if self._committed else None
                found[place] = _page(place, bytes(content), wanted[place], aborted)
        if gone and not found:
            raise errors.OffsetOutOfRangeError(gone)
        return found


def _page(place: Place, content: bytes, start: int, aborted: pages.Aborted | None) -> pages.Page:
    began = time.thread_time()
    page = pages.read(_named([place]), content, start, aborted)
    metrics.SOURCE_READ_SECONDS.inc(time.thread_time() - began)
    metrics.SOURCE_RECORDS.inc(page.rows.num_rows)
    metrics.SOURCE_BYTES.inc(len(content))
    return page


def _named(places: Iterable[Place]) -> str:
    return ", ".join(f"{place.topic}/{place.partition}" for place in places)
