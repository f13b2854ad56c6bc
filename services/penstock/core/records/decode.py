"""From a run of records to the columns of a block: the declared ones, those that every block has, and those of the record.

Pure: the values are read by whoever knows their format. A record without a value makes no event, and one that can't be read is
told apart with its own bytes; both are counted with the run that they stand in.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
import pyarrow as pa

from penstock.core import blocks, parse
from penstock.core import schema as schemas
from penstock.core.records import layout

_TIME = pa.timestamp("us", tz="UTC")
_MICROSECONDS = 1_000


class Values(Protocol):
    """Reads values of one format under one schema."""

    def read(self, values: pa.BinaryArray) -> parse.Parsed:
        """The columns are the declared ones and `_original`, the value's own bytes. No value is NULL."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run stands."""

    topic: str
    partition: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A record whose value can't be read: what it was, byte for byte, and why."""

    place: Place
    offset: int
    timestamp_microseconds: int
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes | None]]
    why: parse.Rejection


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """`batch` has the columns that were asked for; `offsets` and `timestamps` (microseconds) are those of its events."""

    batch: pa.RecordBatch
    offsets: layout.Integers
    timestamps: layout.Integers
    tombstones: int
    unread: Sequence[Unread]


class Decoder:
    """Of one source. Not thread-safe."""

    def __init__(self, values: Values, schema: schemas.Schema) -> None:
        self._values, self._whole_event = values, schema.whole_event

    def decode(self, rows: pa.RecordBatch, place: Place, columns: Sequence[str]) -> Read:
        """Of a batch as core.records.layout has it. A column that nobody knows is left out."""
        values = rows.column(layout.VALUE)
        present = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
        parsed = self._values.read(values if not values.null_count else values.take(pa.array(present)))
        kept = present[parsed.accepted]
        events = rows if len(kept) == rows.num_rows else rows.take(pa.array(kept))
        known = self._columns(parsed.batch, events, place)
        wanted = [name for name in columns if name in known]
        return Read(
            # A column that is dropped again tells how many events there are, where none is asked for.
            batch=pa.RecordBatch.from_arrays([known[name]() for name in (*wanted, blocks.ORIGINAL)], names=[*wanted, ""]).select(
                list(range(len(wanted)))
            ),
            offsets=layout.integers(events, layout.OFFSET),
            timestamps=_microseconds(events),
            tombstones=int(values.null_count),
            unread=[_unread(rows, place, int(present[why.index]), why) for why in parsed.rejected],
        )

    def _columns(self, parsed: pa.RecordBatch, events: pa.RecordBatch, place: Place) -> Mapping[str, Callable[[], pa.Array]]:
        """Each by name, made when it is asked for."""
        received = functools.partial(_times, events)
        known: dict[str, Callable[[], pa.Array]] = {name: functools.partial(parsed.column, name) for name in parsed.schema.names}
        if self._whole_event:
            known["received_at"] = received
        return known | {
            blocks.RECEIVED_AT: received,
            "kafka_key": functools.partial(events.column, layout.KEY),
            "kafka_topic": lambda: pa.repeat(pa.scalar(place.topic), events.num_rows),
            "kafka_partition": lambda: pa.repeat(pa.scalar(place.partition, pa.int32()), events.num_rows),
            "kafka_offset": functools.partial(events.column, layout.OFFSET),
            "kafka_timestamp": received,
            "kafka_headers": lambda: _as_json(events.column(layout.HEADERS)),
        }


def _microseconds(events: pa.RecordBatch) -> layout.Integers:
    """A record without a timestamp counts as one of 1970."""
    return np.maximum(layout.integers(events, layout.TIMESTAMP), 0) * _MICROSECONDS


def _times(events: pa.RecordBatch) -> pa.Array:
    stamps = layout.integers(events, layout.TIMESTAMP)
    times = pa.array(stamps * _MICROSECONDS, pa.int64(), mask=stamps < 0)
    return times.cast(_TIME)


def _as_json(headers: pa.Array) -> pa.Array:
    """An object of texts; of a name that comes twice the last. What is not UTF-8 is shown with replacement characters."""
    if headers.null_count == len(headers):
        return pa.nulls(len(headers), pa.string())
    return pa.array([_json(one) for one in headers.to_pylist()], pa.string())


def _json(packed: bytes | None) -> str | None:
    if packed is None:
        return None
    texts = {name: None if value is None else value.decode("utf-8", "replace") for name, value in layout.unpacked(packed)}
    return msgspec.json.encode(texts).decode()


def _unread(rows: pa.RecordBatch, place: Place, at: int, why: parse.Rejection) -> Unread:
    one = rows.slice(at, 1).to_pylist()[0]
    return Unread(
        place=place,
        offset=one[layout.OFFSET],
        timestamp_microseconds=max(0, one[layout.TIMESTAMP]) * _MICROSECONDS,
        key=one[layout.KEY],
        value=one[layout.VALUE],
        headers=layout.unpacked(one[layout.HEADERS]),
        why=why,
    )
