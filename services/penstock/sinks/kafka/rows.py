"""From the rows of a write to records: values by the format, keys and headers from the columns the transform has made for them.

A key or header that is text or bytes is taken as it is; numbers, truth values, times and the like as their text.
"""

from __future__ import annotations

import dataclasses
import re
import struct
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core import delivery
from penstock.sinks import json_values, runs, tables
from penstock.sinks.kafka import avro, batches, octets, registry

EVENT_ID = "penstock-event-id"
"""The header with a row's address: the same each time the row is sent, and no other row's."""

Chunks: TypeAlias = "pa.ChunkedArray[Any]"

_SEPARATOR = b"/"
_FRAME = struct.Struct(">bI")
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_]")


class Format(Protocol):
    """How values are written."""

    async def prepare(self, topic: str, schema: pa.Schema) -> None:
        """Before rows of this schema are encoded for this topic, off the happy path. Raises SinkError."""

    def encode(self, topic: str, rows: pa.Table) -> batches.Parts:
        """One value per row. Raises SinkError."""


class Json:
    """One object per row."""

    async def prepare(self, topic: str, schema: pa.Schema) -> None:
        """See `Format`."""
        try:
            self.encode(topic, schema.empty_table())
        except pa.ArrowException as error:
            raise tables.misconfigured("COLUMN_TYPE", f"JSON can't hold this schema: {error}", "cast it in select") from error

    def encode(self, topic: str, rows: pa.Table) -> batches.Parts:
        """See `Format`."""
        made = json_values.parts(rows.column_names, [_whole(column) for column in rows.columns], rows.num_rows)
        return [part.encode() if isinstance(part, str) else octets.as_bytes(part) for part in made]


class Avro:
    """One record per row in the registry's framing: a zero, the schema's number, the record.

    The schema is made of the columns and registered under `<topic>-value`, the name that consumers look for.
    """

    def __init__(self, schemas: registry.Registry) -> None:
        self._registry = schemas
        self._numbers: dict[tuple[str, pa.Schema], int] = {}

    async def prepare(self, topic: str, schema: pa.Schema) -> None:
        """See `Format`."""
        bare = schema.remove_metadata()
        if (topic, bare) not in self._numbers:
            told = avro.schema(_NOT_A_NAME.sub("_", f"{topic}_value" if topic[0].isalpha() else f"_{topic}_value"), bare)
            self._numbers[topic, bare] = await self._registry.number(f"{topic}-value", told)

    def encode(self, topic: str, rows: pa.Table) -> batches.Parts:
        """See `Format`."""
        number = self._numbers[topic, rows.schema.remove_metadata()]
        return [_FRAME.pack(0, number), avro.records([_whole(column) for column in rows.columns])]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Names of the declared headers, in the order of their columns."""

    headers: Sequence[str]

    def data(self, schema: pa.Schema) -> list[str]:
        """The columns that a value holds."""
        return [name for name in schema.names if not name.startswith(tables.RESERVED_PREFIX)]

    def check(self, schema: pa.Schema) -> None:
        """Raises SinkError (config)."""
        if not self.data(schema):
            raise tables.misconfigured("NO_COLUMNS", "there is no column to be written", "select a column")
        for field in schema:
            is_plain = not (pa.types.is_nested(field.type) or pa.types.is_dictionary(field.type))
            if field.name.startswith(tables.RESERVED_PREFIX) and not is_plain:
                raise tables.misconfigured(
                    "KEY_TYPE", f"a key or header can't be {field.type}", "make it text, as in to_json(x) or CAST(x AS VARCHAR)"
                )

    def records(self, rows: pa.Table, values: batches.Parts) -> batches.Records:
        """`values` are those of the rows."""
        keys = _bytes(rows, delivery.KEY_COLUMN)
        if delivery.TOMBSTONE_COLUMN in rows.column_names:
            values = [pc.if_else(_gone(rows), pa.scalar(None, pa.large_binary()), octets.joined(*values))]
        told = [
            batches.Header(name=name, values=[_bytes(rows, delivery.header_column(index))])
            for index, name in enumerate(self.headers)
        ]
        return batches.Records(keys=keys, values=values, headers=[batches.Header(name=EVENT_ID, values=_ids(rows)), *told])

    def unkeyed(self, rows: pa.Table, *, compacted: bool) -> npt.NDArray[np.bool_]:
        """Which rows lack a key that they need: all of a compacted topic do, and a record without a value does."""
        if delivery.KEY_COLUMN not in rows.column_names:
            return np.zeros(rows.num_rows, dtype=bool)
        missing = np.asarray(_whole(rows.column(delivery.KEY_COLUMN)).is_null().to_numpy(zero_copy_only=False))
        if compacted or delivery.TOMBSTONE_COLUMN not in rows.column_names:
            return missing if compacted else np.zeros(rows.num_rows, dtype=bool)
        return np.asarray(missing & _gone(rows).to_numpy(zero_copy_only=False))


def _gone(rows: pa.Table) -> octets.Bytes:
    """Which records have no value."""
    return pc.fill_null(_whole(rows.column(delivery.TOMBSTONE_COLUMN)), pa.scalar(value=False))


def _ids(rows: pa.Table) -> batches.Parts:
    """The addresses as text: what is the same in a run of rows, and the item."""
    missing = [name for name in delivery.ADDRESS_COLUMNS if name not in rows.column_names]
    if missing:
        raise tables.misconfigured(
            "NO_ADDRESSES", "the rows come without their addresses", "run a batcher of the same version as this sink"
        )
    *names, item = delivery.ADDRESS_COLUMNS
    columns = [_whole(rows.column(name)) for name in names]
    repeated = runs.find(columns)
    if repeated is None or len(repeated.columns) < len(columns):
        parts = [part for column in columns for part in (_place(column), _SEPARATOR)]
        return [*parts, _bytes(rows, item)]
    once = [part for column in columns for part in (_place(repeated.once(column)), _SEPARATOR)]
    if all(isinstance(part, bytes) for part in once):
        return [*once, _bytes(rows, item)]
    return [repeated.spread(octets.joined(*once)), _bytes(rows, item)]


def _place(column: octets.Bytes) -> octets.Bytes | bytes:
    """A part of the addresses as text; once, where it is the same in all rows."""
    if len(column):
        edges = pc.min_max(column)
        if edges["min"] == edges["max"]:
            return str(edges["min"].as_py()).encode()
    return _as_bytes(column)


def _bytes(rows: pa.Table, name: str) -> octets.Bytes:
    if name not in rows.column_names:
        return pa.nulls(rows.num_rows, pa.large_binary())
    return _as_bytes(_whole(rows.column(name)))


def _as_bytes(column: octets.Bytes) -> octets.Bytes:
    kind = column.type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)):
        column = column.cast(pa.large_utf8())
    return column.cast(pa.large_binary())


def _whole(column: Chunks) -> octets.Bytes:
    """In one piece."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])
