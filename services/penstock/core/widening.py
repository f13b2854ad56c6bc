"""Columns of an older block cast to today's wider types.

Only casts that lose nothing exist: Int32 to Int64 or Float64, a larger Decimal, any scalar to text; inside structs and
lists too, by name. Everything else is refused when the pipeline is edited, so it is an error here.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def widened(column: pa.Array, wanted: pa.DataType, name: str) -> pa.Array:
    """`column` as `wanted`. Raises TypeError naming the column and both types where that would lose something."""
    have = column.type
    if have.equals(wanted):
        return column
    if pa.types.is_struct(have) and pa.types.is_struct(wanted):
        return _struct(column, wanted, name)
    if pa.types.is_list(have) and pa.types.is_list(wanted):
        return _list(column, wanted, name)
    if not _is_lossless(have, wanted):
        raise TypeError(f"column {name!r} holds {have} and can't be read as {wanted} without loss")
    return _as_text(column) if pa.types.is_string(wanted) else column.cast(wanted)


def _struct(column: pa.StructArray, wanted: pa.StructType, name: str) -> pa.Array:
    members = [_member(column, field, name) for field in wanted]
    return pa.StructArray.from_arrays(members, fields=list(wanted), mask=column.is_null())


def _member(column: pa.StructArray, field: pa.Field, name: str) -> pa.Array:
    place = column.type.get_field_index(field.name)
    return pa.nulls(len(column), field.type) if place < 0 else widened(column.field(place), field.type, f"{name}.{field.name}")


def _list(column: pa.ListArray, wanted: pa.ListType, name: str) -> pa.Array:
    return rebuilt_list(column, widened(column.flatten(), wanted.value_type, f"{name}[]"), wanted)


def rebuilt_list(column: pa.ListArray, items: pa.Array, wanted: pa.ListType) -> pa.Array:
    """The lists of `column` with other items, which correspond one to one to `column.flatten()`."""
    # from_arrays takes no mask together with the offsets of a slice, so the offsets are made anew.
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])
    return pa.ListArray.from_arrays(offsets, items, type=wanted, mask=column.is_null())


def _is_lossless(have: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_null(have):
        return True
    if pa.types.is_string(wanted):
        return not bool(pa.types.is_nested(have) or pa.types.is_binary(have))
    if pa.types.is_int32(have):
        return bool(pa.types.is_int64(wanted) or pa.types.is_float64(wanted))
    if pa.types.is_decimal(have) and pa.types.is_decimal(wanted):
        return bool(wanted.scale >= have.scale and wanted.precision - wanted.scale >= have.precision - have.scale)
    return False


def _as_text(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
    return column.cast(pa.string())
