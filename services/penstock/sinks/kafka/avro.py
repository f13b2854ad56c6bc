"""Rows in Avro's binary form, column by column, and the schema that says how to read them.

After the Avro 1.12 specification, "Binary Encoding" and "Logical Types". Every field is a union with null, so that a row may lack
any. What Avro has no type for (unsigned 64-bit integers, times of day in nanoseconds, maps) is refused at the start.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.sinks import tables
from penstock.sinks.kafka import octets

Column: TypeAlias = "pa.Array[Any]"
Schema: TypeAlias = "Mapping[str, Any] | str | Sequence[Any]"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NULL, _VALUE = b"\x00", b"\x02"
_END = b"\x00"
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_WORDS = 2
_DIGITS = 38


def schema(name: str, columns: pa.Schema) -> dict[str, Any]:
    """The Avro record of these columns. Raises SinkError (config) for one that Avro can't hold."""
    return {"type": "record", "name": name, "fields": [_field(field, f"{name}_{field.name}") for field in columns]}


def records(columns: Sequence[Column]) -> octets.Bytes:
    """One record per row; at least one column."""
    return octets.joined(*(_value(column) for column in columns))


def _field(field: pa.Field[Any], path: str) -> dict[str, Any]:
    if not _NAME.fullmatch(field.name):
        raise tables.misconfigured(
            "COLUMN_NAME", f'Avro takes no field named "{field.name}"', "call it by letters, digits and underscores in select"
        )
    return {"name": field.name, "type": ["null", _type(field.type, path)], "default": None}


def _type(kind: pa.DataType, path: str) -> Schema:
    """`path` makes the name of a record that stands inside."""
    if pa.types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        return {"type": "record", "name": path, "fields": [_field(field, f"{path}_{field.name}") for field in fields]}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return {"type": "array", "items": ["null", _type(kind.value_type, f"{path}_item")]}
    if pa.types.is_decimal(kind) and kind.precision <= _DIGITS:
        return {"type": "bytes", "logicalType": "decimal", "precision": kind.precision, "scale": kind.scale}
    if pa.types.is_timestamp(kind):
        whole = "timestamp-nanos" if kind.unit == "ns" else "timestamp-micros"
        return {"type": "long", "logicalType": whole if kind.tz else f"local-{whole}"}
    return _plain(kind)[0]


def _value(column: Column) -> octets.Bytes:
    """Each value of the union with null."""
    text = octets.joined(_VALUE, _present(column))
    if not column.null_count:
        return text
    return pc.if_else(column.is_valid(), text, pa.scalar(_NULL, pa.large_binary()))


def _present(column: Column) -> octets.Bytes:
    """Each value; for a null anything but null."""
    kind = column.type
    if pa.types.is_struct(kind):
        members = [_value(pc.struct_field(column, index)) for index in range(kind.num_fields)]
        return octets.joined(*members) if members else pa.repeat(pa.scalar(b"", pa.large_binary()), len(column))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _array(column)
    if pa.types.is_decimal(kind):
        return octets.prefixed(_decimals(column))
    if pa.types.is_timestamp(kind):
        ticks = _integers(column.cast(pa.timestamp(kind.unit)).cast(pa.int64()))
        return octets.zigzag(ticks if kind.unit == "ns" else ticks * _MICROSECONDS[kind.unit])
    return _plain(kind)[1](column)


def _array(column: Column) -> octets.Bytes:
    """One block of all items, and the empty one that ends an array."""
    sizes = _integers(pc.fill_null(pc.list_value_length(column), 0).cast(pa.int64()))
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int64())
    items = pc.binary_join(pa.LargeListArray.from_arrays(offsets, _value(column.flatten())), pa.scalar(b"", pa.large_binary()))
    block = octets.joined(octets.zigzag(sizes), items, _END)
    return pc.if_else(pa.array(sizes == 0), pa.scalar(_END, pa.large_binary()), block)


def _decimals(column: Column) -> octets.Bytes:
    """The unscaled values, big-endian two's complement, in as few bytes as they need."""
    wide = column.cast(pa.decimal128(_DIGITS, column.type.scale))
    words = np.frombuffer(wide.buffers()[1], dtype="<u8")[_WORDS * wide.offset : _WORDS * (wide.offset + len(wide))]
    low, high = words[0::2], words[1::2].view(np.int64)
    halves = np.empty((len(wide), _WORDS), dtype=">i8")
    halves[:, 0], halves[:, 1] = high, low.view(np.int64)
    big = halves.view(np.uint8)
    sign = np.where(high < 0, 0xFF, 0).astype(np.uint8)
    # A leading byte says nothing when it repeats the sign and the next one has the sign's bit.
    spare = (big[:, :-1] == sign[:, None]) & ((big[:, 1:] >> 7) == (sign >> 7)[:, None])
    kept = np.concatenate([~np.logical_and.accumulate(spare, axis=1), np.ones((len(wide), 1), dtype=bool)], axis=1)
    ends = np.cumsum(kept.sum(axis=1))
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    return pa.Array.from_buffers(pa.large_binary(), len(wide), [None, pa.py_buffer(offsets), pa.py_buffer(big[kept])])


def _integers(column: Column) -> octets.Integers:
    return np.asarray(pc.fill_null(column, 0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _whole(column: Column) -> octets.Bytes:
    return octets.zigzag(_integers(column.cast(pa.int64())))


def _days(column: Column) -> octets.Bytes:
    return octets.zigzag(_integers(column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())))


def _times(column: Column) -> octets.Bytes:
    return octets.zigzag(_integers(column.cast(pa.time64("us")).cast(pa.int64())))


def _truths(column: Column) -> octets.Bytes:
    return octets.fixed(pc.fill_null(column, False).to_numpy(zero_copy_only=False).astype(np.uint8))


def _floats(column: Column) -> octets.Bytes:
    return octets.fixed(pc.fill_null(column.cast(pa.float32()), 0.0).to_numpy(zero_copy_only=False).astype("<f4"))


def _doubles(column: Column) -> octets.Bytes:
    return octets.fixed(pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False).astype("<f8"))


def _texts(column: Column) -> octets.Bytes:
    return octets.prefixed(pc.fill_null(column.cast(pa.large_binary()), b""))


def _nothing(column: Column) -> octets.Bytes:
    return octets.zigzag(np.zeros(len(column), dtype=np.int64))


_PLAIN: Sequence[tuple[Callable[[pa.DataType], bool], Schema, Callable[[Column], octets.Bytes]]] = (
    (pa.types.is_boolean, "boolean", _truths),
    (pa.types.is_uint32, "long", _whole),
    (pa.types.is_int64, "long", _whole),
    (lambda kind: pa.types.is_integer(kind) and not pa.types.is_uint64(kind), "int", _whole),
    (pa.types.is_float64, "double", _doubles),
    (pa.types.is_floating, "float", _floats),
    (lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind), "string", _texts),
    (lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind), "bytes", _texts),
    (pa.types.is_fixed_size_binary, "bytes", _texts),
    (pa.types.is_date, {"type": "int", "logicalType": "date"}, _days),
    (
        lambda kind: pa.types.is_time(kind) and kind.unit != "ns",
        {"type": "long", "logicalType": "time-micros"},
        _times,
    ),
    (pa.types.is_null, "string", _nothing),
)


def _plain(kind: pa.DataType) -> tuple[Schema, Callable[[Column], octets.Bytes]]:
    for fits, told, encode in _PLAIN:
        if fits(kind):
            return told, encode
    raise tables.misconfigured("COLUMN_TYPE", f"Avro has no type for {kind}", "cast it in select, say to VARCHAR or DECIMAL")
