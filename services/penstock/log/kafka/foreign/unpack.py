"""Kafka's records of version 2 taken apart for all of an answer at once, a field of every record at a time.

Laid out as in Kafka's protocol guide, "Record". Only where each record begins depends on the record before; `walks` finds that
for most at once. Headers are read record by record where there are any. The client's own reader makes an object of every
record, which costs four times as much and keeps the garbage collector busy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from aiokafka import errors

from penstock.core.records import layout
from penstock.log.kafka.foreign import walks

Bytes = npt.NDArray[np.uint8]

# "Record Batch" in Kafka's protocol guide.
_HEADER = np.dtype(
    [
        ("offset", ">i8"),
        ("length", ">i4"),
        ("leader_epoch", ">i4"),
        ("magic", "i1"),
        ("crc", ">u4"),
        ("attributes", ">i2"),
        ("last", ">i4"),
        ("stamp", ">i8"),
        ("newest", ">i8"),
        ("producer", ">i8"),
        ("producer_epoch", ">i2"),
        ("sequence", ">i4"),
        ("count", ">i4"),
    ]
)
HEADER_BYTES = _HEADER.itemsize
CODEC, APPEND_TIME, TRANSACTIONAL, CONTROL = 0x07, 0x08, 0x10, 0x20
"""Bits of a batch's attributes."""

_SEVEN_BITS = 0x7F
_LONGEST_SHIFT = 63
# In the array of everything, the stretches by turns: key, what stands between, value, what stands between.
_STRETCHES, _KEY, _VALUE = 4, 0, 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """Some batches of version 2, one entry each. Their records stand in [begins, ends) of the data; where `attributes` say so all
    have the broker's time `newest`, else times of their own, which count from `stamps`."""

    begins: layout.Integers
    ends: layout.Integers
    counts: layout.Integers
    first_offsets: layout.Integers
    next_offsets: layout.Integers
    stamps: layout.Integers
    newest: layout.Integers
    attributes: layout.Integers
    producers: layout.Integers

    @classmethod
    def at(cls, content: bytes, places: Sequence[int], ends: Sequence[int]) -> Batches:
        """From their headers at these places; each must be there in full."""
        found = np.array(places, np.int64)
        header = np.ndarray((len(content) - _HEADER.itemsize + 1,), _HEADER, content, strides=(1,))[found]
        told = {name: header[name].astype(np.int64) for name in _HEADER.names or ()}
        return cls(
            begins=found + _HEADER.itemsize,
            ends=np.array(ends, np.int64),
            counts=told["count"],
            first_offsets=told["offset"],
            next_offsets=told["offset"] + told["last"] + 1,
            stamps=told["stamp"],
            newest=told["newest"],
            attributes=told["attributes"],
            producers=told["producer"],
        )

    def where(self, mask: npt.NDArray[np.bool_]) -> Batches:
        """Those that the mask says."""
        return Batches(**{field.name: getattr(self, field.name)[mask] for field in dataclasses.fields(self)})


def records(data: bytes, batches: Batches, start: int) -> pa.RecordBatch:
    """Those at or after the offset `start`, as `layout.SCHEMA`. Raises CorruptRecordException."""
    try:
        begins = _begins(data, batches)
    except IndexError:
        raise _damaged() from None
    fields = _Fields(np.frombuffer(data, np.uint8), begins)
    sizes, ends = fields.number(), _ends(batches, begins)
    _require(bool((fields.at + sizes == ends).all()))
    fields.at += 1  # Attributes: there are none yet.
    times, deltas = fields.number(), fields.number()
    key_at, key_sizes = fields.bytes()
    value_at, value_sizes = fields.bytes()
    headers = _headers(data, fields)
    _require(bool((fields.at == ends).all()))
    offsets = np.repeat(batches.first_offsets, batches.counts) + deltas
    edges = np.stack([key_at, key_at + np.maximum(key_sizes, 0), value_at, value_at + np.maximum(value_sizes, 0)], axis=1)
    wanted = np.flatnonzero(offsets >= start)
    everything = _everything(data, edges)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(offsets[wanted]),
            pa.array(_timestamps(batches, times)[wanted]),
            _taken(everything, wanted, _KEY, key_sizes),
            _taken(everything, wanted, _VALUE, value_sizes),
            pa.nulls(len(wanted), pa.binary()) if headers is None else headers.take(pa.array(wanted)),
        ],
        schema=layout.SCHEMA,
    )


class _Fields:
    """Reads one field of every record; `at` is where each has been read up to. What lies beyond the data is its last byte: that
    more was read than there is shows in the end."""

    def __init__(self, data: Bytes, at: layout.Integers) -> None:
        self._data, self.at = data, at.copy()

    def number(self) -> layout.Integers:
        """Of variable length, in zigzag form."""
        byte = self._next()
        value = (byte & _SEVEN_BITS).astype(np.uint64)
        shift = 0
        while (more := byte > _SEVEN_BITS).any():
            shift += 7
            _require(shift <= _LONGEST_SHIFT)
            byte = np.where(more, self._data.take(self.at, mode="clip"), np.uint8(0))
            self.at += more
            value |= (byte & _SEVEN_BITS).astype(np.uint64) << np.uint64(shift)
        return (value >> np.uint64(1)).view(np.int64) ^ -(value & np.uint64(1)).view(np.int64)

    def bytes(self) -> tuple[layout.Integers, layout.Integers]:
        """Where they begin, and how many they are; -1 is none."""
        sizes = self.number()
        _require(bool(((sizes >= -1) & (sizes <= len(self._data))).all()))
        begins = self.at.copy()
        self.at += np.maximum(sizes, 0)
        return begins, sizes

    def _next(self) -> Bytes:
        byte = self._data.take(self.at, mode="clip")
        self.at += 1
        return byte


def _begins(data: bytes, batches: Batches) -> layout.Integers:
    """Where each record's length stands. Raises IndexError where the data end within one."""
    at_once = walks.begins(data, np.stack([batches.begins, batches.ends], axis=1), batches.counts)
    return _begins_one_by_one(data, batches) if at_once is None else at_once


def _begins_one_by_one(data: bytes, batches: Batches) -> layout.Integers:
    found: list[int] = []
    append, total = found.append, 0
    for at, end, count in zip(batches.begins.tolist(), batches.ends.tolist(), batches.counts.tolist(), strict=True):
        while at < end:
            append(at)
            size = data[at]
            if size <= _SEVEN_BITS:
                at += 1 + (size >> 1)
            elif (more := data[at + 1]) <= _SEVEN_BITS:
                at += 2 + ((size & _SEVEN_BITS | more << 7) >> 1)
            else:
                size, at = _number(data, at)
                at += max(size, 0)
        total += count
        _require(at == end and len(found) == total)
    return np.fromiter(found, np.int64, len(found))


def _ends(batches: Batches, begins: layout.Integers) -> layout.Integers:
    """A record ends where the next one begins, the last of a batch with it."""
    ends = np.append(begins[1:], 0)[: len(begins)]
    filled = batches.counts > 0
    ends[np.cumsum(batches.counts)[filled] - 1] = batches.ends[filled]
    return ends


def _timestamps(batches: Batches, times: layout.Integers) -> layout.Integers:
    appended = (batches.attributes & APPEND_TIME) > 0
    base = np.where(appended, batches.newest, batches.stamps)
    return np.repeat(base, batches.counts) + np.where(np.repeat(appended, batches.counts), 0, times)


def _everything(data: bytes, edges: layout.Integers) -> pa.Array[Any]:
    """The data as they lie, cut at the edges: keys and values are taken out of it by their places."""
    offsets = np.ascontiguousarray(edges.reshape(-1))
    return pa.Array.from_buffers(pa.large_binary(), max(0, len(offsets) - 1), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _taken(everything: pa.Array[Any], rows: layout.Integers, which: int, sizes: layout.Integers) -> pa.Array[Any]:
    lacking = sizes[rows] < 0
    places = pa.array(rows * _STRETCHES + which, mask=lacking if lacking.any() else None)
    return everything.take(places).cast(pa.binary())


def _headers(data: bytes, fields: _Fields) -> pa.Array[Any] | None:
    """Those of each record as `layout.packed`; None where no record has any."""
    counts = fields.number()
    _require(bool((counts >= 0).all()))
    having = np.flatnonzero(counts)
    if not len(having):
        return None
    written: list[bytes | None] = [None] * len(counts)
    for row, at, count in zip(having.tolist(), fields.at[having].tolist(), counts[having].tolist(), strict=True):
        try:
            found, fields.at[row] = _named(data, at, count)
        except (IndexError, UnicodeDecodeError):
            raise _damaged() from None
        written[row] = layout.packed(found)
    return pa.array(written, pa.binary())


def _named(data: bytes, at: int, count: int) -> tuple[list[tuple[str, bytes | None]], int]:
    """A record's headers, and where they end."""
    found: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        size, at = _number(data, at)
        _require(0 <= size <= len(data) - at)
        name, at = data[at : at + size].decode(), at + size
        size, at = _number(data, at)
        _require(-1 <= size <= len(data) - at)
        found.append((name, data[at : at + size] if size >= 0 else None))
        at += max(size, 0)
    return found, at


def _number(data: bytes, at: int) -> tuple[int, int]:
    """One number in zigzag form, and where it ends."""
    value = shift = 0
    while (byte := data[at]) > _SEVEN_BITS:
        value |= (byte & _SEVEN_BITS) << shift
        shift, at = shift + 7, at + 1
        _require(shift <= _LONGEST_SHIFT)
    value |= byte << shift
    return (value >> 1) ^ -(value & 1), at + 1


def _require(holds: bool) -> None:
    if not holds:
        raise _damaged()


def _damaged() -> errors.CorruptRecordException:
    return errors.CorruptRecordException("records that are not what their lengths say")
