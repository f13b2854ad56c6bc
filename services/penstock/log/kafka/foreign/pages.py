"""From the bytes of a fetch to a run: many records at once, into columns.

The client's own consumer makes an object of every record, which costs four times as much. What it does for who reads committed
records only is done here: after the answer's list of aborted transactions, a batch of one of their producers is left out until
that producer's marker. Left out records, markers and what compaction has taken are no gaps: a page says where the next begins.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from aiokafka import codec, errors
from aiokafka.record import control_record, memory_records

from penstock.core.records import layout
from penstock.log.kafka import checksum
from penstock.log.kafka.foreign import unpack

Aborted = Sequence[tuple[int, int]]
"""Producer and first offset of each aborted transaction in an answer."""

# The first fields of a batch: offset, length, an epoch, the version, the checksum of what follows. Those before it had no such.
_BEGINNING = struct.Struct(">qiibI")
_UNCOUNTED_BYTES, _OLD_BYTES = 12, 26
_MAGIC = 2
_PACKED: Mapping[int, tuple[str, Callable[[], bool], Callable[[bytes], bytes]]] = {
    1: ("gzip", codec.has_gzip, codec.gzip_decode),
    2: ("snappy", codec.has_snappy, codec.snappy_decode),
    3: ("lz4", codec.has_lz4, codec.lz4_decode),
    4: ("zstd", codec.has_zstd, codec.zstd_decode),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What stands in [start, end) of a partition, perhaps nothing."""

    start: int
    end: int
    rows: pa.RecordBatch


def read(place: str, content: bytes, start: int, aborted: Aborted | None) -> Page:
    """`aborted` None: everything is read, whatever becomes of its transaction. Raises CorruptRecordException."""
    judge = _Judge(aborted or ())
    parts: list[pa.RecordBatch] = []
    end = start
    for is_new, found in itertools.groupby(_batches(place, content), operator.itemgetter(0)):
        _, places, ends = zip(*found, strict=True)
        if is_new:
            batches = unpack.Batches.at(content, places, ends)
            rows, after = unpack.records(*_plain(content, judge.kept(content, batches)), start), int(batches.next_offsets.max())
        else:
            rows, after = _old_records([content[at:stop] for at, stop in zip(places, ends, strict=True)], start)
        parts.append(rows)
        end = max(end, after)
    return Page(start=start, end=end, rows=_joined(parts))


def _joined(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    if len(parts) == 1:
        return parts[0]
    return pa.concat_batches(parts) if parts else layout.run([], [], [], [], [])


def _batches(place: str, content: bytes) -> Iterator[tuple[bool, int, int]]:
    """Whether it is of the present version, where it begins, where it ends: of those that are there in full, in order."""
    at, there = 0, len(content)
    while there - at >= _BEGINNING.size:
        first, size, _, magic, told = _BEGINNING.unpack_from(content, at)
        if (end := at + _UNCOUNTED_BYTES + size) > there:
            return
        is_new = magic >= _MAGIC
        if end - at < (unpack.HEADER_BYTES if is_new else _OLD_BYTES):
            raise _damaged(place, first, "length")
        if (
            (checksum.crc32c(content[at + _BEGINNING.size : end]) != told)
            if is_new
            else not _old_batch(content[at:end]).validate_crc()
        ):
            raise _damaged(place, first, "checksum")
        yield is_new, at, end
        at = end


def _old_batch(content: bytes) -> Any:
    return memory_records.MemoryRecords(content).next_batch()


class _Judge:
    """Whose records are to be read, in the order of an answer. `aborted`: its transactions that were given up."""

    def __init__(self, aborted: Aborted) -> None:
        self._ahead = sorted(aborted, key=operator.itemgetter(1))
        self._open: set[int] = set()

    def kept(self, content: bytes, batches: unpack.Batches) -> unpack.Batches:
        """Neither markers nor what was given up."""
        if not (batches.attributes & (unpack.TRANSACTIONAL | unpack.CONTROL)).any():
            return batches
        wanted = np.zeros(len(batches.begins), np.bool_)
        for at, attributes in enumerate(batches.attributes.tolist()):
            while self._ahead and self._ahead[0][1] <= batches.first_offsets[at]:
                self._open.add(self._ahead.pop(0)[0])
            producer = int(batches.producers[at])
            given_up = producer in self._open
            if attributes & unpack.CONTROL and given_up and _is_abort(content, batches, at):
                self._open.discard(producer)
            wanted[at] = not (attributes & unpack.CONTROL or (attributes & unpack.TRANSACTIONAL and given_up))
        return batches.where(wanted)


def _is_abort(content: bytes, batches: unpack.Batches, at: int) -> bool:
    marker = batches.where(np.arange(len(batches.begins)) == at)
    keys = unpack.records(*_plain(content, marker), int(marker.first_offsets[0])).column(layout.KEY)
    return bool(len(keys)) and control_record.ControlRecord.parse(keys[0].as_py()) == control_record.ABORT_MARKER


def _plain(content: bytes, batches: unpack.Batches) -> tuple[bytes, unpack.Batches]:
    """The data in which the records stand as they are, and the batches as they stand there."""
    codecs = (batches.attributes & unpack.CODEC).tolist()
    if not any(codecs):
        return content, batches
    places = zip(codecs, batches.begins.tolist(), batches.ends.tolist(), batches.counts.tolist(), strict=True)
    # What compaction has emptied holds nothing to unpack.
    pieces = [_decoded(number, content[at:end]) if count else b"" for number, at, end, count in places]
    ends = np.cumsum([len(piece) for piece in pieces])
    begins = np.append(0, ends[:-1])
    return b"".join(pieces), dataclasses.replace(batches, begins=begins, ends=ends)


def _decoded(number: int, packed: bytes) -> bytes:
    if not number:
        return packed
    name, is_there, decode = _PACKED.get(number, (f"method {number}", lambda: False, bytes))
    if not is_there():
        raise errors.UnsupportedCodecError(f"records are packed with {name}, for which there is no library here")
    try:
        return decode(packed)
    except Exception as error:  # the boundary: whatever such a library raises
        raise errors.CorruptRecordException(f"records that {name} can't unpack: {error}") from error


def _old_records(batches: Sequence[bytes], start: int) -> tuple[pa.RecordBatch, int]:
    """Record by record, as such batches are written no more; and the offset behind them."""
    read = [_old_batch(content) for content in batches]
    found = [record for batch in read for record in batch if record.offset >= start]
    rows = layout.run(
        [record.offset for record in found],
        [-1 if record.timestamp is None else record.timestamp for record in found],
        [record.key for record in found],
        [record.value for record in found],
        [record.headers for record in found],
    )
    return rows, max(batch.next_offset for batch in read)


def _damaged(place: str, first: int, what: str) -> errors.CorruptRecordException:
    return errors.CorruptRecordException(f"{place}: the {what} of the records from {first} on is wrong")
