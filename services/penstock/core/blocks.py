"""Blocks: the columnar groups of events that the log holds, one per record.

A block is one Arrow IPC stream with one RecordBatch: the declared columns, then `_original`, `_received_at` and `_trace`.
What a reader must know before it touches the bytes stands in the record's headers. Big blocks are compressed buffer by
buffer, so that a reader pays for the columns it asks for; small ones as one stream, because many tiny compressed buffers
cost more than they save. Every format version ever written has a golden file in tests/golden/blocks.
"""

from __future__ import annotations

import dataclasses
import enum
import zlib
from collections.abc import Mapping, Sequence

import pyarrow as pa
from pyarrow import ipc

from penstock.core import schema as schemas
from penstock.core import widening

ORIGINAL = "_original"
"""Column: the event's own bytes; NULL for events that came in as Arrow columns."""
RECEIVED_AT = "_received_at"
"""Column: when the request that held the event was received; timestamp[us, UTC]."""
TRACE = "_trace"
"""Column: the W3C traceparent of sampled requests, NULL elsewhere."""

FORMAT_VERSION = 1
BUFFER_COMPRESSION_FROM_ROWS = 5_000
_MOST_STREAM_BYTES = 1 << 30
"""Far more than any block holds: what a header says is allocated before the bytes are looked at."""
USUAL_BYTES = 4 * 1024 * 1024
"""At most so many bytes of events are put in one block, unless a single event is larger."""

_FORMAT = "penstock-format"
_FINGERPRINT = "penstock-schema"
_ROWS = "penstock-rows"
_COMPRESSION = "penstock-compression"
_STREAM_BYTES = "penstock-stream-bytes"
_CHECKSUM = "penstock-crc32"
_TRACEPARENT = "traceparent"

_ADDED_COLUMNS = (
    pa.field(ORIGINAL, pa.binary()),
    pa.field(RECEIVED_AT, pa.timestamp("us", tz="UTC")),
    pa.field(TRACE, pa.string()),
)


class BlockError(Exception):
    """A record that can't be read as a block: the lane stops, nothing is dead-lettered."""


class BlockFormatError(BlockError):
    """The headers name a format that this version of Penstock does not read, or no format at all."""


class CorruptBlockError(BlockError):
    """The bytes are not what the headers say was written."""


class Compression(enum.Enum):
    BUFFERS = "buffers"
    STREAM = "stream"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlockHeader:
    """What the headers of a block say. `stream_bytes` is the length of the IPC stream before whole-stream compression."""

    format_version: int
    fingerprint: str
    rows: int
    traceparent: str = ""
    compression: Compression = Compression.BUFFERS
    stream_bytes: int = 0
    checksum: int = 0

    def to_headers(self) -> dict[str, bytes]:
        headers = {
            _FORMAT: b"%d" % self.format_version,
            _FINGERPRINT: self.fingerprint.encode("ascii"),
            _ROWS: b"%d" % self.rows,
            _COMPRESSION: self.compression.value.encode("ascii"),
            _STREAM_BYTES: b"%d" % self.stream_bytes,
            _CHECKSUM: b"%08x" % self.checksum,
        }
        return headers | ({_TRACEPARENT: self.traceparent.encode("ascii")} if self.traceparent else {})


def block_schema(schema: schemas.Schema) -> pa.Schema:
    """The columns of a block of this schema: the declared ones, then those that every block adds."""
    return pa.schema([*schemas.arrow_schema(schema), *_ADDED_COLUMNS])


def encode(batch: pa.RecordBatch, fingerprint: str, traceparent: str = "") -> tuple[bytes, dict[str, bytes]]:
    """The value and the headers of the record that holds this batch."""
    compression = Compression.BUFFERS if batch.num_rows >= BUFFER_COMPRESSION_FROM_ROWS else Compression.STREAM
    stream = _write(batch, _codec() if compression is Compression.BUFFERS else None)
    value: bytes = stream.to_pybytes() if compression is Compression.BUFFERS else _codec().compress(stream, asbytes=True)
    header = BlockHeader(
        format_version=FORMAT_VERSION,
        fingerprint=fingerprint,
        rows=batch.num_rows,
        traceparent=traceparent,
        compression=compression,
        stream_bytes=stream.size,
        checksum=zlib.crc32(value),
    )
    return value, header.to_headers()


def read_header(headers: Mapping[str, bytes]) -> BlockHeader:
    """Raises BlockFormatError for a format version this reader does not know, CorruptBlockError for unreadable headers."""
    version = headers.get(_FORMAT, b"")
    if version != b"%d" % FORMAT_VERSION:
        shown = version.decode("ascii", "replace") or "none"
        raise BlockFormatError(f"block format {shown} is not known here (known: {FORMAT_VERSION}); upgrade this reader")
    try:
        header = BlockHeader(
            format_version=int(version),
            fingerprint=headers[_FINGERPRINT].decode("ascii"),
            rows=int(headers[_ROWS]),
            traceparent=headers.get(_TRACEPARENT, b"").decode("ascii"),
            compression=Compression(headers[_COMPRESSION].decode("ascii")),
            stream_bytes=int(headers[_STREAM_BYTES]),
            checksum=int(headers[_CHECKSUM], 16),
        )
    except (KeyError, ValueError) as error:
        raise CorruptBlockError(f"unreadable block headers: {error}") from error
    if not 0 <= header.stream_bytes <= _MOST_STREAM_BYTES:
        raise CorruptBlockError(f"unreadable block headers: a stream of {header.stream_bytes:,} bytes")
    return header


def told_rows(headers: Mapping[str, bytes]) -> int:
    """The events of a block for who only counts; 0 where its headers can't be read."""
    try:
        return read_header(headers).rows
    except BlockError:
        return 0


def decoded_bytes(headers: Mapping[str, bytes]) -> int:
    """About how large the block's columns are when they are decoded. Raises BlockFormatError, CorruptBlockError.

    The headers of a big block tell only its compressed size; its events had `USUAL_BYTES` at most, unless there is one.
    """
    header = read_header(headers)
    if header.compression is Compression.STREAM:
        return header.stream_bytes
    return max(header.stream_bytes, USUAL_BYTES)


def decode(value: bytes, headers: Mapping[str, bytes], *, columns: Sequence[str] | None = None) -> pa.RecordBatch:
    """The block's columns, or those of `columns` that it has, in the order asked for.

    In a big block, columns that are not asked for are not decompressed. Raises BlockFormatError, CorruptBlockError.
    """
    header = read_header(headers)
    if zlib.crc32(value) != header.checksum:
        raise CorruptBlockError(f"checksum mismatch in a block of {header.rows} rows and {len(value)} bytes")
    try:
        batch = _read(_stream(value, header), columns)
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise CorruptBlockError(f"unreadable block of {len(value)} bytes: {error}") from error
    if batch.num_rows != header.rows:
        raise CorruptBlockError(f"the block holds {batch.num_rows} rows, its headers say {header.rows}")
    return batch


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """An older block's batch with exactly the columns of `schema`: matched by name, missing ones NULL, others widened.

    Raises BlockFormatError for a column that can't be read as the wanted type without loss.
    """
    if batch.schema.equals(schema):
        return batch
    try:
        return pa.RecordBatch.from_arrays([_conformed(batch, field) for field in schema], schema=schema)
    except TypeError as error:
        raise BlockFormatError(str(error)) from error


def _conformed(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    place = batch.schema.get_field_index(field.name)
    if place < 0:
        return pa.nulls(batch.num_rows, field.type)
    return widening.widened(batch.column(place), field.type, field.name)


def _codec() -> pa.Codec:
    return pa.Codec("zstd", compression_level=1)


def _write(batch: pa.RecordBatch, codec: pa.Codec | None) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema, options=ipc.IpcWriteOptions(compression=codec, use_threads=False)) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _stream(value: bytes, header: BlockHeader) -> pa.Buffer:
    if header.compression is Compression.BUFFERS:
        return pa.py_buffer(value)
    return _codec().decompress(value, decompressed_size=header.stream_bytes)


def _read(stream: pa.Buffer, columns: Sequence[str] | None) -> pa.RecordBatch:
    if columns is None:
        return _read_fields(stream, [])
    with ipc.open_stream(stream) as reader:
        places = {name: index for index, name in enumerate(reader.schema.names)}
    wanted = [name for name in columns if name in places]
    # An empty list of included fields means all of them, so one column is read for the sake of the row count.
    batch = _read_fields(stream, [places[name] for name in wanted] or [0])
    return batch.select(wanted)


def _read_fields(stream: pa.Buffer, included: list[int]) -> pa.RecordBatch:
    options = ipc.IpcReadOptions(use_threads=False, included_fields=included)
    with ipc.open_stream(stream, options=options) as reader:
        return reader.read_next_batch()
