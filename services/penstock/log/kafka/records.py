"""Between the port's records and Kafka's: who sent a record travels in two headers of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aiokafka.record import memory_records

from penstock.log import port

_PRODUCER = "penstock-producer"
_SEQUENCE = "penstock-sequence"


def to_headers(record: port.NewRecord) -> list[tuple[str, bytes]]:
    own = [(_PRODUCER, record.producer.encode()), (_SEQUENCE, str(record.sequence).encode())]
    return own + list(record.headers.items())


def to_record(
    topic: str,
    partition: int,
    offset: int,
    timestamp_milliseconds: int,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]],
) -> port.Record:
    """Raises DamagedLogError for a record that this log did not write."""
    named = dict(headers)
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


def readable(topic: str, name: str, partition: int, start: int, content: bytes) -> tuple[list[port.Record], int]:
    """What of a fetched piece lies at `start` or behind it and is not damaged, and the offset behind the piece."""
    found, following = [], start
    try:
        for batch in batches(name, partition, content):
            for item in batch:
                with contextlib.suppress(port.DamagedLogError):
                    if item.offset >= start:
                        found.append(to_record(topic, partition, item.offset, item.timestamp, item.value, item.headers))
            following = max(following, batch.next_offset)
    except port.DamagedLogError:
        # Where a batch of this kind ends is not to be trusted either.
        following = max(following, start + 1)
    return found, following


def batches(name: str, partition: int, content: bytes) -> Iterator[Any]:
    """Whole batches come, the first perhaps from before what was asked for."""
    fetched = memory_records.MemoryRecords(content)
    while fetched.has_next():
        batch = fetched.next_batch()
        if not batch.validate_crc():
            raise port.DamagedLogError(f"{name}/{partition}: the checksum of the records from {batch.base_offset} on is wrong")
        if not batch.is_control_batch:
            yield batch
