"""From the bytes of a fetch to a run: many records at once, into columns.

The client's own consumer makes an object of every record, which costs four times as much. What it does for who reads committed
records only is done here: after the answer's list of aborted transactions, a batch of one of their producers is left out until
that producer's marker. Left out records, markers and what compaction has taken are no gaps: a page says where the next begins.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
from aiokafka import errors
from aiokafka.record import control_record, memory_records

from penstock.core.records import layout

Aborted = Sequence[tuple[int, int]]
"""Producer and first offset of each aborted transaction in an answer."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What stands in [start, end) of a partition, perhaps nothing."""

    start: int
    end: int
    rows: pa.RecordBatch


def read(place: str, content: bytes, start: int, aborted: Aborted | None) -> Page:
    """`aborted` None: everything is read, whatever becomes of its transaction. Raises CorruptRecordException."""
    offsets: list[int] = []
    timestamps: list[int] = []
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    headers: list[layout.Headers] = []
    end = start
    for batch in _kept(place, content, aborted):
        if not batch.is_control_batch:
            for record in batch:
                if record.offset >= start:
                    offsets.append(record.offset)
                    timestamps.append(-1 if record.timestamp is None else record.timestamp)
                    keys.append(record.key)
                    values.append(record.value)
                    headers.append(record.headers)
        end = max(end, batch.next_offset)
    return Page(start=start, end=end, rows=layout.run(offsets, timestamps, keys, values, headers))


def _kept(place: str, content: bytes, aborted: Aborted | None) -> Iterator[Any]:
    """Batches in order; of those that are left out, the place where the next begins is still told by an empty one."""
    ahead = sorted(aborted or (), key=lambda one: one[1])
    open_producers: set[int] = set()
    batches = memory_records.MemoryRecords(content)
    while batches.has_next():
        batch = batches.next_batch()
        if not batch.validate_crc():
            first = getattr(batch, "base_offset", "?")
            raise errors.CorruptRecordException(f"{place}: the checksum of the records from {first} on is wrong")
        while ahead and ahead[0][1] <= batch.base_offset:
            open_producers.add(ahead.pop(0)[0])
        if batch.is_control_batch:
            if batch.producer_id in open_producers and _is_abort(batch):
                open_producers.discard(batch.producer_id)
            yield _Nothing(next_offset=batch.next_offset)
        elif batch.is_transactional and batch.producer_id in open_producers:
            yield _Nothing(next_offset=batch.next_offset)
        else:
            yield batch


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Nothing:
    next_offset: int
    is_control_batch: bool = True


def _is_abort(batch: Any) -> bool:
    marker = next(iter(batch), None)
    return marker is not None and control_record.ControlRecord.parse(marker.key) == control_record.ABORT_MARKER
