"""How large an Arrow IPC stream becomes when it is decoded, read from its metadata before anything is decompressed.

A compressed buffer begins with the length it will have, which Arrow allocates before it looks at the rest. A batch also names
its rows, of which a column of NULLs holds any number in no bytes at all. Arrow has checked that the metadata is well formed.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

import pyarrow as pa
from pyarrow import ipc

_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3
# Places of the fields in the tables of Arrow's Message.fbs.
_HEADER_TYPE, _HEADER = 1, 2
_DICTIONARY_DATA = 1
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3
_NOT_COMPRESSED = -1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Rows of the batches, and bytes of all buffers, dictionaries' too."""

    rows: int
    decoded_bytes: int


def measure(stream: pa.Buffer) -> Size:
    """The size by the stream's own word. Raises ArrowException, OSError or struct.error for what is no stream."""
    rows = decoded = 0
    for message in ipc.MessageReader.open_stream(stream):
        metadata = message.metadata.to_pybytes()
        table = _Table.root(metadata)
        kind = table.byte(_HEADER_TYPE)
        if kind not in (_DICTIONARY_BATCH, _RECORD_BATCH):
            continue
        batch = table.table(_HEADER)
        if kind == _DICTIONARY_BATCH:
            batch = batch.table(_DICTIONARY_DATA)
        else:
            rows += batch.long(_LENGTH)
        is_compressed = batch.has(_COMPRESSION)
        decoded += sum(_length(message.body, offset, size, is_compressed) for offset, size in batch.pairs(_BUFFERS))
    return Size(rows=rows, decoded_bytes=decoded)


def _length(body: pa.Buffer | None, offset: int, size: int, is_compressed: bool) -> int:
    if not is_compressed or not size or body is None:
        return size
    (length,) = struct.unpack_from("<q", body, offset)
    return size if length == _NOT_COMPRESSED else max(length, 0)


class _Table:
    """One table of a flatbuffer."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data, self._place = data, place
        (back,) = struct.unpack_from("<i", data, place)
        self._fields = place - back
        (self._fields_end,) = struct.unpack_from("<H", data, self._fields)

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, *struct.unpack_from("<I", data, 0))

    def has(self, field: int) -> bool:
        return self._at(field) != self._place

    def byte(self, field: int) -> int:
        return self._data[self._at(field)] if self.has(field) else 0

    def long(self, field: int) -> int:
        return int(struct.unpack_from("<q", self._data, self._at(field))[0]) if self.has(field) else 0

    def table(self, field: int) -> _Table:
        return _Table(self._data, self._far(field))

    def pairs(self, field: int) -> Iterator[tuple[int, int]]:
        """The vector of structs of two 64-bit numbers; none where the field is missing."""
        if not self.has(field):
            return
        place = self._far(field)
        (count,) = struct.unpack_from("<I", self._data, place)
        for index in range(count):
            yield struct.unpack_from("<qq", self._data, place + 4 + 16 * index)

    def _far(self, field: int) -> int:
        place = self._at(field)
        return place + int(struct.unpack_from("<I", self._data, place)[0])

    def _at(self, field: int) -> int:
        """Where the field stands; the table's own place where it is missing."""
        slot = 4 + 2 * field
        if slot >= self._fields_end:
            return self._place
        (distance,) = struct.unpack_from("<H", self._data, self._fields + slot)
        return self._place + int(distance)
