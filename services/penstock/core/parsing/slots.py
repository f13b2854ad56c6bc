"""What the declared types ask of columns beyond their Arrow types, at any depth, and how many bytes each row holds.

Columns here have the declared Arrow types already, so lists are plain lists and nothing is dictionary-encoded.
"""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core import octets, widening
from penstock.core import schema as schemas
from penstock.core.parsing import convert, scalars

Flags = npt.NDArray[np.bool_]
_Types = schemas.FieldType
_JSON = msgspec.json.Decoder(msgspec.Raw)


def faulty(column: pa.Array, field: schemas.Field) -> Flags:
    """One flag per slot that holds, at any depth, what the field does not take. NULL itself is never at fault here."""
    if field.type is _Types.STRUCT:
        members = zip(column.flatten(), field.fields, strict=True)
        return _any([faulty(member, inner) | _lacking(member, inner, column) for member, inner in members], len(column))
    if field.type is _Types.LIST and field.element is not None:
        values, edges = _items(column)
        inside = faulty(values, field.element)
        if field.element.required:
            inside |= _flags(pc.is_null(values))
        sums = np.concatenate([[0], np.cumsum(inside)])
        return np.asarray(sums[edges[1:]] > sums[edges[:-1]])
    return _faulty_scalars(column, field)


def canonical(column: pa.Array, field: schemas.Field) -> pa.Array:
    """The column with UUIDs in lower case, at any depth."""
    if field.type is _Types.UUID:
        return pc.ascii_lower(column)
    if not _holds_uuid(field):
        return column
    if field.type is _Types.LIST and field.element is not None:
        items = canonical(column.flatten(), field.element)
        return widening.rebuilt_list(column, items, schemas.arrow_type(field))
    members = [canonical(member, inner) for member, inner in zip(column.flatten(), field.fields, strict=True)]
    return pa.StructArray.from_arrays(members, fields=list(schemas.arrow_type(field)), mask=column.is_null())


def row_bytes(column: pa.Array) -> npt.NDArray[np.int64]:
    """The bytes of each slot's values, without offsets and validity."""
    if pa.types.is_struct(column.type):
        return sum((row_bytes(member) for member in column.flatten()), np.zeros(len(column), np.int64))
    if pa.types.is_list(column.type):
        values, edges = _items(column)
        sums = np.concatenate([[0], np.cumsum(row_bytes(values))])
        return np.asarray(sums[edges[1:]] - sums[edges[:-1]])
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        return np.where(_flags(pc.is_null(column)), 0, octets.lengths(column)) if len(column) else np.zeros(0, np.int64)
    return np.full(len(column), -(-column.type.bit_width // 8), np.int64)


def _items(column: pa.ListArray) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The items of all lists that are not NULL, and where each list starts in them."""
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    return column.flatten(), np.concatenate([[0], np.cumsum(np.asarray(lengths.to_pylist(), np.int64))]).astype(np.int64)


def _lacking(member: pa.Array, field: schemas.Field, holder: pa.StructArray) -> Flags:
    if not field.required or not member.null_count:
        return np.zeros(len(member), np.bool_)
    return _flags(pc.is_null(member)) & ~_flags(pc.is_null(holder))


def _faulty_scalars(column: pa.Array, field: schemas.Field) -> Flags:
    if field.type is _Types.UUID:
        return _flags(pc.invert(pc.match_substring_regex(column, convert.UUID_PATTERN)))
    if field.type is _Types.JSON:
        return np.array([text is not None and not _is_json(text) for text in column.to_pylist()], np.bool_)
    if field.type is _Types.TIMESTAMP:
        moments = column.cast(pa.int64())
        return _flags(pc.or_(pc.less(moments, scalars.EARLIEST_MICROSECONDS), pc.greater(moments, scalars.LATEST_MICROSECONDS)))
    return np.zeros(len(column), np.bool_)


def _holds_uuid(field: schemas.Field) -> bool:
    inner = (*field.fields, *([field.element] if field.element else []))
    return field.type is _Types.UUID or any(map(_holds_uuid, inner))


def _is_json(text: str) -> bool:
    try:
        _JSON.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _any(flags: list[Flags], count: int) -> Flags:
    return np.logical_or.reduce(flags) if flags else np.zeros(count, np.bool_)


def _flags(mask: pa.BooleanArray) -> Flags:
    # Arrow's own conversion to numpy looks for pandas; bytes of 0 and 1 do not.
    return np.frombuffer(pc.fill_null(mask, False).cast(pa.uint8()).buffers()[1] or b"", np.uint8)[: len(mask)].astype(np.bool_)
