"""Appending: one idempotent producer, replaced when it breaks, and sequences without gaps per producer and partition.

An append that ran out of time may have landed. Its sequence stays open: the next append of the same one looks into the
partition first. What slips through even so (a request that was under way while we looked) carries its producer and sequence,
by which readers know it for a re-send.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable

import aiokafka
from aiokafka import errors

from penstock.log import port
from penstock.log.kafka import client, connection, records
from penstock.log.kafka import settings as kafka_settings

_BATCH_BYTES = 1 << 20
_LOG_APPEND_TIME = 1
# Find the record of this producer and sequence at or after this offset.
Look = Callable[[str, int, int, port.NewRecord], Awaitable[port.Appended | None]]


@dataclasses.dataclass(slots=True)
class _Sent:
    """Of one producer in one partition. Its next record can only be at or after `floor`; `unknown`: it may be there."""

    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    last: int | None = None
    appended: port.Appended | None = None
    floor: int | None = None
    unknown: bool = False


class Producer:
    """`append` to topics by their Kafka names."""

    def __init__(self, settings: kafka_settings.Settings, end: Callable[[str, int], Awaitable[int]], look: Look) -> None:
        self._settings = settings
        self._end = end
        self._look = look
        self._current: aiokafka.AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._appending: set[asyncio.Task[port.Appended]] = set()
        self._sent: dict[tuple[str, int, str], _Sent] = collections.defaultdict(_Sent)

    async def append(self, name: str, partition: int, record: port.NewRecord) -> port.Appended:
        """Raises LogError: for a gap nothing was sent; after a time-out or a lost connection the outcome is unknown.

        Cancelled, it goes on by itself, and the same append again answers with its outcome.
        """
        appending = asyncio.create_task(self._append(name, partition, record))
        self._appending.add(appending)
        appending.add_done_callback(self._appended)
        return await asyncio.shield(appending)

    def _appended(self, done: asyncio.Task[port.Appended]) -> None:
        self._appending.discard(done)
        if not done.cancelled():
            done.exception()  # Nobody may wait for it any more.

    async def _append(self, name: str, partition: int, record: port.NewRecord) -> port.Appended:
        sent = self._sent[name, partition, record.producer]
        async with sent.lock:
            if sent.last is not None and record.sequence <= sent.last:
                last = sent.appended if record.sequence == sent.last else None
                return dataclasses.replace(last or _FORGOTTEN, resent=True)
            if sent.last is not None and record.sequence != sent.last + 1:
                raise port.LogError(
                    f"{name}/{partition}: producer {record.producer} sent sequence {record.sequence}, {sent.last + 1} was"
                    " expected: it sends the next one when it knows the outcome of the last, a new one starts at 0"
                )
            appended = await self._append_next(name, partition, record, sent)
            sent.last, sent.appended, sent.floor, sent.unknown = record.sequence, appended, appended.offset + 1, False
            return appended

    async def put(self, name: str, partition: int, key: bytes, value: bytes | None) -> None:
        """Of a compacted topic, where the last record of a key counts: it may be put again. Raises LogError."""
        producer = await self._producer()
        try:
            async with client.bounded(f"writing to {name}/{partition}", self._settings.patience.delivery):
                await producer.send_and_wait(name, value, key=key, partition=partition)
        except BaseException:
            await self._replace(producer)
            raise

    async def close(self) -> None:
        """What is being appended gets its time to land."""
        if self._appending:
            await asyncio.wait(self._appending)
        async with self._starting:
            producer, self._current = self._current, None
            if producer:
                with contextlib.suppress(port.LogError):
                    async with client.bounded("closing the producer", self._settings.patience.close):
                        await producer.stop()
                await connection.abandon(producer, self._settings.patience.close)

    async def _append_next(self, name: str, partition: int, record: port.NewRecord, sent: _Sent) -> port.Appended:
        if sent.floor is None:
            sent.floor = await self._end(name, partition)
        if sent.unknown and (found := await self._look(name, partition, sent.floor, record)):
            return dataclasses.replace(found, resent=True)
        producer = await self._producer()
        try:
            async with client.bounded(f"appending to {name}/{partition}", self._settings.patience.delivery):
                headers = records.to_headers(record)
                done = await producer.send_and_wait(name, record.value, key=record.key, partition=partition, headers=headers)
        except BaseException as error:
            if not isinstance(error.__cause__, errors.MessageSizeTooLargeError):
                sent.unknown = True
                await self._replace(producer)
            raise
        if done.offset < 0 or done.timestamp_type != _LOG_APPEND_TIME:
            # The broker knows the record for a re-send by this producer, and has forgotten where it put it.
            found = await self._look(name, partition, sent.floor, record)
            if found is None:
                sent.unknown = True
                raise port.LogUnavailableError(
                    f"Kafka: {name}/{partition}: {record.producer}/{record.sequence} is not to be found"
                )
            return found
        return port.Appended(offset=done.offset, append_time_microseconds=done.timestamp * 1_000)

    async def _replace(self, broken: aiokafka.AIOKafkaProducer) -> None:
        """A sender that has failed once may never send again."""
        async with self._starting:
            if self._current is broken:
                self._current = None
                await connection.abandon(broken, self._settings.patience.close)

    async def _producer(self) -> aiokafka.AIOKafkaProducer:
        async with self._starting:
            if self._current is None:
                producer = aiokafka.AIOKafkaProducer(
                    **client.connection_settings(self._settings),
                    acks="all",
                    enable_idempotence=True,
                    compression_type=None,
                    max_batch_size=_BATCH_BYTES,
                    max_request_size=kafka_settings.MESSAGE_BYTES + _BATCH_BYTES,
                )
                connection.keep_renewed(producer.client, self._settings.security)
                try:
                    async with client.bounded("starting a producer", self._settings.patience.delivery):
                        await producer.start()
                except BaseException:
                    await connection.abandon(producer, self._settings.patience.close)
                    raise
                self._current = producer
            return self._current


_FORGOTTEN = port.Appended(offset=-1, append_time_microseconds=0, resent=True)
