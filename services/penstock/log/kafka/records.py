"""Between the port's records and Kafka's: who sent a record travels in two headers of its own."""

from __future__ import annotations

from collections.abc import Sequence

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
