"""Rows of a batch as the COPY stream of a staging table, in the forms that `column_types` has chosen.

What the server would take for something else in silence (a moment that wraps around, a time of infinity) is found here;
everything it refuses by itself is left to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.sinks import json_rows
from penstock.sinks.postgres import binary, column_types, numerics

ROW = "_penstock_row"
"""The staging column that holds each row's index in the write."""

MOST_FIELD_BYTES = 1_000_000_000
"""The server takes no message and no value of 1 GiB; what stands around the value needs some room too."""

_EPOCH_DAYS = 10_957
_EPOCH_MICROSECONDS = 946_684_800_000_000
_FIRST_DAY = -2_451_545 + _EPOCH_DAYS
_FIRST_MICROSECOND = -211_813_488_000_000_000 + _EPOCH_MICROSECONDS
"""4714-11-24 BC, where Postgres' calendar begins."""

_NUMBERS: Mapping[str, type[np.generic]] = {
    "int2": np.int16,
    "int4": np.int32,
    "int8": np.int64,
    "float4": np.float32,
    "float8": np.float64,
}
_HEX = np.full(256, 255, np.uint8)
_HEX[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_HEX[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)
_DASHES = (8, 13, 18, 23)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Rows of one column whose value Postgres does not have."""

    column: str
    rows: npt.NDArray[np.int64]
    why: str


class UnfitValuesError(Exception):
    """Some values have no counterpart in Postgres."""

    def __init__(self, found: Unfit) -> None:
        super().__init__(f'column "{found.column}": {found.why}')
        self.found = found


def rows(table: pa.Table, ways: Sequence[column_types.Way]) -> binary.Tuples:
    """The rows, each with its index after the last column. Raises UnfitValuesError for the first column that has some."""
    fields = [_named(name, column, way) for name, column, way in zip(table.column_names, table.columns, ways, strict=True)]
    index = binary.Fixed(payload=binary.big_endian(np.arange(table.num_rows, dtype=np.int32)))
    return binary.tuples(table.num_rows, [*fields, index])


def _named(name: str, column: pa.ChunkedArray[Any], way: column_types.Way) -> binary.Field:
    try:
        return _field(_whole(column), way)
    except _UnfitError as error:
        raise UnfitValuesError(Unfit(column=name, rows=np.flatnonzero(error.mask), why=error.why)) from None


class _UnfitError(Exception):
    def __init__(self, mask: npt.NDArray[np.bool_], why: str) -> None:
        super().__init__(why)
        self.mask, self.why = mask, why


def _whole(column: pa.ChunkedArray[Any]) -> pa.Array[Any]:
    found = column.combine_chunks()
    array = pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found
    wanted = column_types.plain(array.type)
    return array if array.type == wanted else array.cast(wanted)


def _field(values: pa.Array[Any], way: column_types.Way) -> binary.Field:
    return _FORMS[way.form](values, way)


def _boolean(values: pa.Array[Any], _: column_types.Way) -> binary.Field:
    return _fixed(values, values.cast(pa.uint8()).fill_null(0).to_numpy())


def _number(values: pa.Array[Any], way: column_types.Way) -> binary.Field:
    return _fixed(values, _filled(values).astype(_NUMBERS[way.target]))


def _numeric(values: pa.Array[Any], _: column_types.Way) -> binary.Field:
    is_decimal = pa.types.is_decimal(values.type)
    payload = numerics.from_decimals(values) if is_decimal else numerics.from_integers(_filled(values))
    return binary.Fixed(payload=payload, valid=_valid(values))


def _date(values: pa.Array[Any], _: column_types.Way) -> binary.Field:
    days = _filled(values.cast(pa.int32()))
    _refuse(days < _FIRST_DAY, "is before the year 4713 BC or infinite, which Postgres' calendar does not have", days)
    return _fixed(values, days - np.int32(_EPOCH_DAYS))


def _time(values: pa.Array[Any], _: column_types.Way) -> binary.Field:
    return _fixed(values, _filled(values.cast(pa.int64())))


def _timestamp(values: pa.Array[Any], _: column_types.Way) -> binary.Field:
    moments = _filled(values.cast(pa.int64()))
    # The engine's infinity is the largest number; shifted to the server's epoch it would be a moment like any other.
    outside = (moments < _FIRST_MICROSECOND) | (moments == np.iinfo(np.int64).max)
    _refuse(outside, "is before the year 4713 BC or infinite, which Postgres' calendar does not have", moments)
    return _fixed(values, moments - np.int64(_EPOCH_MICROSECONDS))


def _uuid(values: pa.Array[Any], _: column_types.Way) -> binary.Field:
    if pa.types.is_fixed_size_binary(values.type):
        raw = np.frombuffer(values.buffers()[1], np.uint8).reshape(-1, 16)
        return binary.Fixed(payload=raw[values.offset : values.offset + len(values)], valid=_valid(values))
    filled = values.fill_null("00000000-0000-0000-0000-000000000000") if values.null_count else values
    odd = pc.not_equal(pc.binary_length(filled), 36).to_numpy(zero_copy_only=False)
    if odd.any():
        raise _UnfitError(odd, "is no UUID")
    _, offsets, data = filled.buffers()
    start = int(np.frombuffer(offsets, np.int32)[filled.offset])
    text = np.frombuffer(data, np.uint8)[start : start + 36 * len(filled)].reshape(-1, 36)
    dashed = (text[:, _DASHES] == ord("-")).all(axis=1)
    digits = _HEX[np.delete(text, _DASHES, axis=1)]
    wrong = ~dashed | (digits > 15).any(axis=1)
    if wrong.any():
        raise _UnfitError(wrong, "is no UUID")
    packed: binary.Bytes = (digits[:, ::2] * np.uint8(16) + digits[:, 1::2]).astype(np.uint8)
    return binary.Fixed(payload=packed, valid=_valid(values))


def _text(values: pa.Array[Any], _: column_types.Way) -> binary.Field:
    return _varying(values if pa.types.is_string(values.type) else values.cast(pa.string()))


def _bytes(values: pa.Array[Any], _: column_types.Way) -> binary.Field:
    return _varying(values)


def _jsonb(values: pa.Array[Any], _: column_types.Way) -> binary.Field:
    return _varying(values, b"\x01")


def _document(values: pa.Array[Any], way: column_types.Way) -> binary.Field:
    """As JSON text, value by value through Python: nothing in Arrow writes JSON."""
    lines = json_rows.lines(pa.table({"v": values})).splitlines()
    texts = [line.removeprefix(b'{"v":')[:-1] for line in lines]
    found = pa.array(texts, pa.binary(), mask=_nulls(values))
    return _varying(found, b"\x01" if way.target == "jsonb" else b"")


def _array(values: pa.Array[Any], way: column_types.Way) -> binary.Field:
    assert way.element is not None  # noqa: S101 - an array's way has its element's
    flat = values.values if values.offset == 0 and len(values.offsets) == len(values) + 1 else values.flatten()
    lists = values
    if flat is not values.values or values.null_count:
        # Lists that are NULL may have elements below them; afterwards they have none.
        lists = pa.ListArray.from_arrays(_compact_offsets(values), values.flatten(), mask=values.is_null())
        flat = lists.values
    wanted = column_types.plain(flat.type)
    try:
        inner = _field(flat if flat.type == wanted else flat.cast(wanted), way.element)
    except _UnfitError as error:
        raise _UnfitError(_lists_of(lists, error.mask), f"an element {error.why}") from None
    joined = binary.elements(len(flat), inner)
    oid = column_types.element_oid(way.target)
    return _limited(binary.arrays(lists, joined, element_oid=oid, has_null=bool(flat.null_count)))


def _lists_of(lists: pa.Array[Any], elements: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(lists), bool)
    found[np.searchsorted(lists.offsets.to_numpy(), np.flatnonzero(elements), side="right") - 1] = True
    return found


def _compact_offsets(values: pa.Array[Any]) -> pa.Array[Any]:
    lengths = pc.list_value_length(values).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(values) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.array(offsets)


def _fixed(values: pa.Array[Any], numbers: npt.NDArray[Any]) -> binary.Field:
    return binary.Fixed(payload=binary.big_endian(numbers), valid=_valid(values))


def _varying(values: pa.Array[Any], prefix: bytes = b"") -> binary.Field:
    return _limited(binary.Varying(values=values.cast(pa.binary()), prefix=prefix))


def _limited(field: binary.Varying) -> binary.Varying:
    if field.values.nbytes > MOST_FIELD_BYTES:
        too_long = pc.greater(pc.binary_length(field.values), MOST_FIELD_BYTES).fill_null(False)
        _refuse(too_long.to_numpy(zero_copy_only=False), f"is longer than {MOST_FIELD_BYTES:,} bytes, the most a field can hold")
    return field


def _refuse(outside: npt.NDArray[np.bool_], why: str, values: npt.NDArray[Any] | None = None) -> None:
    if outside.any():
        shown = "" if values is None else f"{values[np.argmax(outside)]} "
        raise _UnfitError(outside, shown + why)


def _filled(values: pa.Array[Any]) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = (values.fill_null(0) if values.null_count else values).to_numpy(zero_copy_only=False)
    return found


def _valid(values: pa.Array[Any]) -> npt.NDArray[np.bool_] | None:
    return ~_nulls(values) if values.null_count else None


def _nulls(values: pa.Array[Any]) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = pc.is_null(values).to_numpy(zero_copy_only=False)
    return found


_FORMS: Mapping[column_types.Form, Callable[[pa.Array[Any], column_types.Way], binary.Field]] = {
    column_types.Form.BOOLEAN: _boolean,
    column_types.Form.NUMBER: _number,
    column_types.Form.NUMERIC: _numeric,
    column_types.Form.DATE: _date,
    column_types.Form.TIME: _time,
    column_types.Form.TIMESTAMP: _timestamp,
    column_types.Form.UUID: _uuid,
    column_types.Form.TEXT: _text,
    column_types.Form.BYTES: _bytes,
    column_types.Form.JSONB: _jsonb,
    column_types.Form.DOCUMENT: _document,
    column_types.Form.ARRAY: _array,
}
