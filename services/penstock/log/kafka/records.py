"""Between the port's records and Kafka's: who sent a record travels in two headers of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aiokafka import errors
from aiokafka.record import memory_records

from penstock.log import port

_PRODUCER = "penstock-producer"
_SEQUENCE = "penstock-sequence"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Of what was fetched: the records that can be read, those that can't, and the offset behind all of them."""

    found: Sequence[port.Record]
    damaged: Sequence[port.Damaged]
    following: int


def to_headers(record: port.NewRecord) -> list[tuple[str, bytes]]:
    own = [(_PRODUCER, record.producer.encode()), (_SEQUENCE, str(record.sequence).encode())]
    return own + list(record.headers.items())


def to_record(
    topic: str,
    partition: int,
    offset: int,
    timestamp_milliseconds: int,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
) -> port.Record:
    """Raises DamagedLogError for a record that this log did not write."""
    # Only somebody else writes headers without a value.
    named = {name: found for name, found in headers if found is not None}
    try:
        producer, sequence = named.pop(_PRODUCER).decode(), int(named.pop(_SEQUENCE))
    except (KeyError, ValueError):
        raise port.DamagedLogError(
            f"{topic}/{partition}: the record at {offset} has no producer and sequence, so something else writes to this topic"
        ) from None
    return port.Record(
        topic=topic,
        partition=partition,
        offset=offset,
        append_time_microseconds=timestamp_milliseconds * 1_000,
        value=value or b"",
        headers=named,
        producer=producer,
        sequence=sequence,
    )


def until_damaged(found: Iterable[port.Record]) -> list[port.Record]:
    """Those before the first one that can't be read. Raises DamagedLogError where there are none."""
    taken: list[port.Record] = []
    try:
        for record in found:
            taken.append(record)  # noqa: PERF402 - what came before the error is wanted
    except port.DamagedLogError:
        if not taken:
            raise
    return taken


def readable(topic: str, name: str, partition: int, start: int, content: bytes) -> Piece:
    """What of a fetched piece lies at `start` or behind it."""
    found: list[port.Record] = []
    damaged: list[port.Damaged] = []
    following = start
    try:
        for batch in _sound(name, partition, content):
            if not batch.is_control_batch:
                _sort(topic, name, partition, max(start, batch.base_offset), batch, found, damaged)
            following = max(following, batch.next_offset)
    except port.DamagedLogError as error:
        # Where a batch of this kind ends is not to be trusted either.
        if following == start:
            damaged.append(port.Damaged(offset=start, reason=str(error)))
            following += 1
    return Piece(found=found, damaged=damaged, following=following)


def _sort(
    topic: str, name: str, partition: int, start: int, batch: Any, found: list[port.Record], damaged: list[port.Damaged]
) -> None:
    """The records of a batch to those that can be read, or to the others."""
    following = start
    try:
        for item in items(name, partition, batch):
            if item.offset < start:
                continue
            following = item.offset + 1
            try:
                found.append(to_record(topic, partition, item.offset, item.timestamp, item.value, item.headers))
            except port.DamagedLogError as error:
                damaged.append(port.Damaged(offset=item.offset, reason=str(error)))
    except port.DamagedLogError as error:
        damaged += [port.Damaged(offset=offset, reason=str(error)) for offset in range(following, batch.next_offset)]


def behind(name: str, partition: int, start: int, content: bytes) -> int:
    """The offset behind a fetched piece. Raises DamagedLogError."""
    return max((int(batch.next_offset) for batch in _sound(name, partition, content)), default=start)


def batches(name: str, partition: int, content: bytes) -> Iterator[Any]:
    """Whole batches of records come, the first perhaps from before what was asked for. Raises DamagedLogError."""
    return (batch for batch in _sound(name, partition, content) if not batch.is_control_batch)


def items(name: str, partition: int, batch: Any) -> Iterator[Any]:
    """The records of a batch. Raises DamagedLogError, also in the midst of it: others sign what this client can't take apart."""
    try:
        yield from batch
    except Exception as error:  # Each codec has kinds of its own.
        first, last = batch.base_offset, batch.next_offset - 1
        what = f"{name}/{partition}: the records from {first} to {last} can't be taken apart, so something else wrote them"
        raise port.DamagedLogError(f"{what}: {error}") from error


def _sound(name: str, partition: int, content: bytes) -> Iterator[Any]:
    """Raises DamagedLogError at the first batch that is not what was sent."""
    fetched = memory_records.MemoryRecords(content)
    while fetched.has_next():
        try:
            batch = fetched.next_batch()
        except errors.CorruptRecordException as error:
            raise port.DamagedLogError(f"{name}/{partition}: {error}") from error
        if not batch.validate_crc():
            raise port.DamagedLogError(f"{name}/{partition}: the checksum of the records from {batch.base_offset} on is wrong")
        yield batch
