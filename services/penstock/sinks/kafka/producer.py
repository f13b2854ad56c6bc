"""One idempotent producer behind a small face: a batch is sent and its outcome known, or the producer is replaced.

A batch that failed leaves a gap in the producer's sequences, and a sender that has failed once may never send again (aiokafka
0.14): after any failure the producer is ended for certain, so that nothing it still holds can land after what comes next.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator

import aiokafka

from penstock.log.kafka import connection
from penstock.sinks.kafka import batches, brokers, failures, requests
from penstock.telemetry import metrics

_CLOSE_SECONDS = 5.0
_REQUEST_BYTES = 64 << 20
_METADATA_SECONDS = 60


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Session:
    """One producer, and what becomes true when it was given up."""

    client: aiokafka.AIOKafkaProducer
    lost: asyncio.Event


class Producer:
    """Created in the loop it is used in; nothing is called after `close`."""

    def __init__(self, told: brokers.Brokers) -> None:
        self._told = told
        self._starting = asyncio.Lock()
        self._session: Session | None = None

    async def session(self) -> Session:
        """The producer that works, made when there is none. Raises KafkaError, OSError, SinkError."""
        async with self._starting:
            if self._session is None:
                client = aiokafka.AIOKafkaProducer(
                    **self._told.told(),
                    acks="all",
                    enable_idempotence=True,
                    compression_type=None,
                    max_request_size=_REQUEST_BYTES,
                    metadata_max_age_ms=_METADATA_SECONDS * 1_000,
                )
                try:
                    await client.start()
                except BaseException:
                    await connection.abandon(client, _CLOSE_SECONDS)
                    raise
                requests.copy_once(client)
                self._session = Session(client, asyncio.Event())
            return self._session

    async def partitions(self, session: Session, topic: str) -> int:
        """How many the topic has now. Raises KafkaError."""
        return len(await session.client.partitions_for(topic))

    async def send(self, session: Session, topic: str, batch: batches.Batch) -> None:
        """Return when the batch is durable. Raises KafkaError, OSError: then it may be durable all the same."""
        with _counted(batch):
            done = await session.client.send_batch(batch, topic, partition=batch.partition)
            lost = asyncio.ensure_future(session.lost.wait())
            try:
                await asyncio.wait({done, lost}, return_when=asyncio.FIRST_COMPLETED)
                if not done.done():
                    raise failures.LostError("the producer was given up")
                done.result()
            finally:
                lost.cancel()
                done.add_done_callback(_looked_at)

    async def replace(self, session: Session) -> None:
        """Give up this producer; whatever waits for it fails."""
        async with self._starting:
            if self._session is session:
                self._session = None
            if not session.lost.is_set():
                session.lost.set()
                await connection.abandon(session.client, _CLOSE_SECONDS)

    async def close(self) -> None:
        if self._session is not None:
            await self.replace(self._session)


def _looked_at(done: asyncio.Future[object]) -> None:
    """Else the loop complains of errors that nobody has waited for."""
    if not done.cancelled():
        done.exception()


@contextlib.contextmanager
def _counted(batch: batches.Batch) -> Iterator[None]:
    records, size = batch.record_count(), len(batch)
    metrics.SINK_QUEUE_RECORDS.labels("Kafka").inc(records)
    metrics.SINK_QUEUE_BYTES.labels("Kafka").inc(size)
    try:
        yield
    finally:
        metrics.SINK_QUEUE_RECORDS.labels("Kafka").dec(records)
        metrics.SINK_QUEUE_BYTES.labels("Kafka").dec(size)
