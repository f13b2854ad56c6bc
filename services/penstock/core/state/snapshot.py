"""A table as bytes, with all that running forward from there needs: the format that is kept beside the log.

Eight bytes of magic, version and checksum (32 bits each, little-endian), then an Arrow stream of one batch: hash and last
event of each key, then each value's state. What it was made under stands in the stream's metadata, as JSON.
"""

from __future__ import annotations

import struct
import zlib

import msgspec
import pyarrow as pa
from pyarrow import ipc

from penstock.core import widening
from penstock.core.state import columns, spec, table

VERSION = 1

_MAGIC = b"pnstkst\n"
_HEADER = struct.Struct("<8sII")
_META = b"penstock.state"


class SnapshotError(ValueError):
    """Bytes that this release can't go on from; the message says why and the way out."""


class Judging(msgspec.Struct, frozen=True, kw_only=True):
    """How duplicates were told when the snapshot was made: running forward must tell them alike."""

    key: tuple[str, ...]
    window_microseconds: int
    max_events: int


class _Value(msgspec.Struct, frozen=True, kw_only=True):
    kind: spec.Kind
    name: str
    field: str


class _Meta(msgspec.Struct, frozen=True, kw_only=True):
    key: tuple[str, ...]
    key_types: tuple[str, ...]
    max_keys: int
    head: int
    values: tuple[_Value, ...]
    judging: Judging | None


def encode(known: table.StateTable, key_types: tuple[str, ...], judging: Judging | None) -> bytes:
    """`key_types` name the types of the key's fields: keys of another type would never be found again."""
    basic, held = known.dump()
    meta = _Meta(
        key=known.spec.key,
        key_types=key_types,
        max_keys=known.spec.max_keys,
        head=known.head,
        values=tuple(_Value(kind=value.kind, name=value.name, field=value.field) for value in held),
        judging=judging,
    )
    arrays = [*basic, *(array for parts in held.values() for array in parts)]
    schema = pa.schema([pa.field(str(at), array.type) for at, array in enumerate(arrays)], {_META: msgspec.json.encode(meta)})
    sink = pa.BufferOutputStream()
    options = ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1), use_threads=False)
    with ipc.new_stream(sink, schema, options=options) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    content: bytes = sink.getvalue().to_pybytes()
    return _HEADER.pack(_MAGIC, VERSION, zlib.crc32(content)) + content


class Decoded:
    """A snapshot that can be read. Raises SnapshotError when made of bytes that can't."""

    def __init__(self, content: bytes) -> None:
        payload = _payload(content)
        try:
            with ipc.open_stream(payload) as reader:
                self._batch = reader.read_next_batch()
                self._meta = msgspec.json.decode((reader.schema.metadata or {})[_META], type=_Meta)
        except (pa.ArrowException, OSError, StopIteration, KeyError, msgspec.MsgspecError) as error:
            raise SnapshotError(f"a state snapshot that is damaged ({error}): {_REMEDY}") from error

    @property
    def judging(self) -> Judging | None:
        return self._meta.judging

    def is_of(self, told: spec.StateSpec, key_types: tuple[str, ...]) -> bool:
        """Whether it is of the same key."""
        return (self._meta.key, self._meta.key_types) == (told.key, key_types)

    def equals(self, told: spec.StateSpec) -> bool:
        """Whether it was made under these values and this bound."""
        values = tuple(_Value(kind=value.kind, name=value.name, field=value.field) for value in told.values)
        return (self._meta.values, self._meta.max_keys) == (values, told.max_keys)

    def table(self, told: spec.StateSpec) -> table.StateTable:
        """The table as it was, with those of its values that are still told."""
        basic = [self._batch.column(0), self._batch.column(1)]
        held: dict[spec.Value, list[columns.Array]] = {}
        at = 2
        wanted = {(value.kind, value.name, value.field): value for value in told.values}
        for was in self._meta.values:
            count = 2 if was.kind is spec.Kind.SUM else 1
            arrays = self._batch.columns[at : at + count]
            at += count
            value = wanted.get((was.kind, was.name, was.field))
            if value is not None and (fitting := _fitting(arrays, value)) is not None:
                held[value] = fitting
        made = table.StateTable(spec.StateSpec(key=told.key, max_keys=self._meta.max_keys, values=tuple(held)))
        made.load(self._meta.head, basic, held)
        return made


def _fitting(arrays: list[columns.Array], value: spec.Value) -> list[columns.Array] | None:
    """In today's types; None where the field has one that the values don't fit."""
    try:
        return [widening.widened(array, kind, value.name) for array, kind in zip(arrays, columns.parts(value), strict=True)]
    except TypeError:
        return None


def _payload(content: bytes) -> bytes:
    if len(content) < _HEADER.size or not content.startswith(_MAGIC):
        raise SnapshotError(f"a state snapshot that no Penstock wrote ({content[:8]!r}): {_REMEDY}")
    _, version, checksum = _HEADER.unpack_from(content)
    if version != VERSION:
        raise SnapshotError(
            f"a state snapshot of version {version}, this release reads {VERSION}: run the release that wrote it, or a newer one"
        )
    if zlib.crc32(content[_HEADER.size :]) != checksum:
        raise SnapshotError(f"a state snapshot whose bytes are not what was written: {_REMEDY}")
    return content[_HEADER.size :]


_REMEDY = "restore the data directory from a copy, or start once without spec.transform.state, which forgets it"
