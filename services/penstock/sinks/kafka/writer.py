"""The Kafka destination: one record per row, batches of one write to all partitions at once, in order within each.

Identity is None: a topic has no place where landed ranges could be kept with the records short of a transaction (28 ms each,
and aiokafka speaks an old version of them). So what is not known to have landed is sent again, and every record carries its
row's address in the header `rows.EVENT_ID`, by which a consumer knows a repeat.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures

import numpy as np
import pyarrow as pa
from aiokafka import errors

from penstock.core import delivery, failpoints, results
from penstock.sinks import port, tables
from penstock.sinks.kafka import batches, brokers, compress, failures, partitioner, producer, rows
from penstock.telemetry import metrics

_TYPE = "Kafka"
# Of the time a write may take: what was settled is answered, and a time-out explained, before the lane gives up on the whole.
_SHARE_OF_TIME = 0.8
_ASK_SECONDS = 10.0
_EXPLAINING_SHARE = 0.05
_PREFERRED_ROWS = 10_000
_PREFERRED_BYTES = 1 << 20
_THREADS = 2
_TROUBLE = (TimeoutError, errors.KafkaError, OSError, failures.LostError)
# What compression may add to what can't be compressed, and the batch's own header.
_FRAME_SHARE, _FRAME_BYTES = 64, 128


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the pipeline object says of the sink."""

    at: brokers.Brokers
    format: rows.Format
    layout: rows.Layout
    codec: compress.Codec
    batch_bytes: int
    new_topic: brokers.NewTopic
    table_policy: tables.TablePolicy
    timeout_seconds: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """The batches of a write by partition, and the rows that no batch can hold."""

    batches: Sequence[batches.Batch]
    rejected: Sequence[results.RejectedRow]


@dataclasses.dataclass(slots=True, kw_only=True)
class _Outcome:
    """Of one partition."""

    written: list[batches.Batch] = dataclasses.field(default_factory=list)
    error: BaseException | None = None


class KafkaWriter:
    """Sends to one cluster; a `SinkWriter`. Connects with the first call."""

    def __init__(
        self, settings: Settings, *, failpoint: failpoints.Failpoint = failpoints.nothing, now: Callable[[], float] = time.time
    ) -> None:
        self._settings, self._failpoint, self._now = settings, failpoint, now
        self._seconds = settings.timeout_seconds * _SHARE_OF_TIME
        self._encoder = futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="kafka-encode")
        self._producer = producer.Producer(settings.at)
        self._topics: dict[str, brokers.Topic] = {}
        self._turn = itertools.count(random.randrange(1 << 16))  # noqa: S311 - spreads records, guards nothing

    async def describe(self, lane: str, table: str, schema: pa.Schema) -> delivery.Description:
        """See `SinkWriter`. `table` is the topic."""
        told = self._settings
        told.layout.check(schema)
        self._topics[table] = found = await self._found(table)
        if found.compacted and delivery.KEY_COLUMN not in schema.names:
            raise tables.misconfigured(
                "NO_KEY", f"topic {table} is compacted, which takes no record without a key", "set kafka.key"
            )
        await told.format.prepare(table, _data(told, schema))
        return delivery.Description(
            identity=delivery.Identity.NONE,
            identity_reason=_reason(table, found),
            max_concurrency=0,
            preferred_rows=_PREFERRED_ROWS,
            preferred_bytes=_PREFERRED_BYTES,
        )

    async def write(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        """See `SinkWriter`. Cancelled, the producer is given up: whether what was sent has landed is then not known."""
        if not batch.rows.num_rows:
            return delivery.WriteResult()
        ends = asyncio.get_running_loop().time() + self._seconds
        what = f"{self._settings.at.place}: writing to topic {batch.table}"
        try:
            async with asyncio.timeout_at(ends):
                topic = self._topics.get(batch.table) or await self._found(batch.table)
                self._topics[batch.table] = topic
                await self._settings.format.prepare(batch.table, _data(self._settings, batch.rows.schema))
                session = await self._producer.session()
                partitions = await self._producer.partitions(session, batch.table)
            prepared = await self._prepare(batch, topic, partitions)
        except _TROUBLE as error:
            raise await self._explained(batch.table, error, what) from error
        return await self._sent(session, batch, prepared, ends, what)

    async def query(self, sql: str) -> pa.Table:
        """See `SinkWriter`."""
        raise tables.misconfigured("NOT_QUERYABLE", "Kafka answers no SQL", "read the topic with a consumer")

    async def close(self) -> None:
        """See `SinkWriter`."""
        await self._producer.close()
        self._encoder.shutdown(wait=True)

    async def _found(self, table: str) -> brokers.Topic:
        """Raises SinkError (config) for a topic that isn't there and may not be made."""
        told = self._settings
        _check_name(table)
        found = await brokers.topic(told.at, table, _ASK_SECONDS)
        if found is not None:
            return found
        if told.table_policy is tables.TablePolicy.VERIFY:
            raise tables.misconfigured(
                "NO_TOPIC",
                f"{told.at.place}: there is no topic {table}",
                "make the topic, or set tablePolicy: CreateIfMissing; if it is there, let this user describe it",
            )
        return await brokers.create(told.at, table, told.new_topic, _ASK_SECONDS)

    async def _prepare(self, batch: delivery.SinkBatch, topic: brokers.Topic, partitions: int) -> _Prepared:
        keyless = next(self._turn)

        def work() -> _Prepared:
            return self._encoded(batch, topic, partitions, keyless)

        return await asyncio.get_running_loop().run_in_executor(self._encoder, work)

    def _encoded(self, batch: delivery.SinkBatch, topic: brokers.Topic, partitions: int, keyless: int) -> _Prepared:
        """On a thread of its own."""
        began, told = time.perf_counter(), self._settings
        values = told.format.encode(batch.table, batch.rows.select(told.layout.data(batch.rows.schema)))
        records = told.layout.records(batch.rows, values)
        unkeyed = told.layout.unkeyed(batch.rows, compacted=topic.compacted)
        chosen = np.flatnonzero(~unkeyed)
        if len(chosen) < len(records):
            records = records.take(chosen)
        packed = batches.pack(
            records,
            partitioner.choose(records.keys, partitions, keyless),
            batch_bytes=min(told.batch_bytes, topic.max_bytes - topic.max_bytes // _FRAME_SHARE - _FRAME_BYTES),
            codec=told.codec,
            timestamp_milliseconds=int(self._now() * 1_000),
        )
        for one in packed:
            one.rows = chosen[one.rows]
        large = [one for one in packed if one.record_count() == 1 and len(one) > topic.max_bytes]
        rejected = [
            _refused(int(row), "NO_KEY", "the record has no key, and its topic or tombstone needs one")
            for row in np.flatnonzero(unkeyed)
        ]
        rejected += [_refused(int(one.rows[0]), "TOO_LARGE", _too_large(one, topic)) for one in large]
        metrics.SINK_STAGE_SECONDS.labels(_TYPE, "encode").observe(time.perf_counter() - began)
        return _Prepared(batches=[one for one in packed if one not in large], rejected=rejected)

    async def _sent(
        self, session: producer.Session, batch: delivery.SinkBatch, prepared: _Prepared, ends: float, what: str
    ) -> delivery.WriteResult:
        self._failpoint("encoded")
        began = time.perf_counter()
        outcomes = {one.partition: _Outcome() for one in prepared.batches}
        try:
            async with asyncio.TaskGroup() as group:
                for number, outcome in outcomes.items():
                    mine = [one for one in prepared.batches if one.partition == number]
                    group.create_task(self._send_in_order(session, batch.table, mine, ends, outcome))
        finally:
            if sum(len(outcome.written) for outcome in outcomes.values()) < len(prepared.batches):
                self._topics.pop(batch.table, None)
                await self._producer.replace(session)
        metrics.SINK_STAGE_SECONDS.labels(_TYPE, "produce").observe(time.perf_counter() - began)
        self._failpoint("acknowledged")
        failed = [outcome.error for outcome in outcomes.values() if outcome.error]
        landed = [one for outcome in outcomes.values() for one in outcome.written]
        if failed and not (landed or prepared.rejected):
            raise await self._explained(batch.table, failed[0], what) from failed[0]
        return _result(batch.rows.num_rows, landed, prepared.rejected)

    async def _send_in_order(
        self, session: producer.Session, table: str, mine: Iterable[batches.Batch], ends: float, outcome: _Outcome
    ) -> None:
        """One batch after the other: a later one never lands before, or without, an earlier one."""
        try:
            async with asyncio.timeout_at(ends):
                for one in mine:
                    await self._producer.send(session, table, one)
                    outcome.written.append(one)
        except Exception as error:  # the boundary: one partition's trouble must not hide what the others have landed
            outcome.error = error

    async def _explained(self, table: str, error: BaseException, what: str) -> port.SinkError:
        """The client tries again for ever what may heal; when time is up, the topic itself is looked at for the reason."""
        if isinstance(error, TimeoutError):
            try:
                found = await brokers.topic(self._settings.at, table, self._settings.timeout_seconds * _EXPLAINING_SHARE)
            except port.SinkError as reason:
                return reason
            if found is None:
                error = errors.UnknownTopicOrPartitionError()
        return failures.as_error(await brokers.reason(self._settings.at, error), what)


def _check_name(topic: str) -> None:
    """Raises SinkError (config): the names a template can give are all known at the start."""
    fits = 0 < len(topic) <= 249 and topic not in (".", "..")
    if not (fits and all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in topic)):
        raise tables.misconfigured(
            "TOPIC_NAME", f'"{topic[:300]}" can\'t be the name of a topic', "use letters, digits, ., - and _, at most 249"
        )


def _data(told: Settings, schema: pa.Schema) -> pa.Schema:
    return pa.schema([schema.field(name) for name in told.layout.data(schema)])


def _refused(row: int, code: str, message: str) -> results.RejectedRow:
    return results.RejectedRow(row=row, result_class=results.ResultClass.DATA, code=code, message=message)


def _too_large(batch: batches.Batch, topic: brokers.Topic) -> str:
    return f"the record has {len(batch)} bytes; the topic's max.message.bytes is {topic.max_bytes}"


def _result(count: int, landed: Sequence[batches.Batch], rejected: Sequence[results.RejectedRow]) -> delivery.WriteResult:
    written = np.sort(np.concatenate([one.rows for one in landed])) if landed else np.zeros(0, np.int64)
    if len(written) == count:
        return delivery.WriteResult(written=count)
    return delivery.WriteResult(written=len(written), written_rows=tuple(_stretches(written)), rejected=tuple(rejected))


def _stretches(found: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Iterator[delivery.Stretch]:
    for run in np.split(found, np.flatnonzero(np.diff(found) > 1) + 1):
        if len(run):
            yield delivery.Stretch(int(run[0]), int(run[-1]) + 1)


def _reason(table: str, found: brokers.Topic) -> str:
    copies = f"{found.replicas} replica" + ("s" if found.replicas != 1 else "")
    risk = "" if found.min_in_sync > 1 else ": one broker's disk may hold the only copy of what was acknowledged"
    return (
        f"a topic can't tell what has landed, so records without an answer are sent again; the header {rows.EVENT_ID} is the"
        f" same then; {table} has {copies}, min.insync.replicas {found.min_in_sync}{risk}"
    )
