"""Columns as the bulk JSON reader makes them, turned into the declared types.

What JSON has no type for is read as text or integers and cast here, a column at a time. Anything that is not plainly
right raises NotPlainError: the exact reader then decides, event by event.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core import octets, widening
from penstock.core import schema as schemas
from penstock.core.parsing import layout, scalars

_Types = schemas.FieldType
_RFC3339 = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$"
_BEYOND_MICROSECONDS = r"(\.\d{6})\d+"
UUID_PATTERN = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_MICROSECONDS = pa.timestamp("us", tz="UTC")
_USUAL = b"0000-00-00T00:00:00.000000Z"
_LONGEST_WITHOUT_CUT = len(_USUAL)
_USUAL_LENGTHS = {20, *range(22, _LONGEST_WITHOUT_CUT + 1)}
"""Without a fraction, or with one to six digits."""


class NotPlainError(Exception):
    """Something in this block is not plainly right; says nothing about where."""


def read_type(field: schemas.Field) -> pa.DataType:
    """The type the bulk reader is asked for, without the members that are JSON text: those it can't read."""
    if field.type is _Types.TIMESTAMP:
        return pa.string() if field.format is schemas.TimestampFormat.RFC3339 else pa.int64()
    if field.type in (_Types.DATE, _Types.UUID, _Types.BYTES):
        return pa.string()
    if field.type is _Types.LIST and field.element is not None:
        return pa.list_(pa.field("item", read_type(field.element)))
    if field.type is _Types.STRUCT:
        members = (member for member in field.fields if not layout.is_json_text(member))
        return pa.struct([pa.field(member.name, read_type(member)) for member in members])
    return schemas.arrow_type(field)


def is_converted(field: schemas.Field) -> bool:
    """Whether `converted` does anything for this type: some are checked without changing their Arrow type."""
    return field.type in _CONVERTERS


def converted(column: pa.Array, field: schemas.Field) -> pa.Array:
    """A scalar column in its declared type. Raises NotPlainError."""
    convert = _CONVERTERS.get(field.type)
    if convert is None or column.null_count == len(column):
        return column.cast(schemas.arrow_type(field)) if convert else column
    try:
        return convert(column, field)
    except pa.ArrowInvalid as error:
        raise NotPlainError(str(error)) from error


def rebuilt_list(column: pa.ListArray, items: pa.Array, field: schemas.Field) -> pa.Array:
    return widening.rebuilt_list(column, items, schemas.arrow_type(field))


def require(holds: bool | None, why: str) -> None:
    """`holds` is None for a column of NULLs only, which is plainly right."""
    if holds is False:
        raise NotPlainError(why)


def _timestamp(column: pa.Array, field: schemas.Field) -> pa.Array:
    if field.format is schemas.TimestampFormat.RFC3339:
        moments = _rfc3339(column)
    else:
        moments = pc.multiply_checked(column, scalars.units_to_microseconds(field)).cast(_MICROSECONDS)
    limits = pc.min_max(moments.cast(pa.int64()))
    require(scalars.is_showable(limits["min"].as_py()) and scalars.is_showable(limits["max"].as_py()), "years 1 to 9999")
    return moments


def _rfc3339(column: pa.StringArray) -> pa.Array:
    if not _are_usual_moments(column):
        require(pc.all(pc.match_substring_regex(column, _RFC3339)).as_py(), "not RFC 3339")
    # The bulk cast takes the year 0, which dates elsewhere do not have.
    require(not pc.any(pc.starts_with(column, "0000")).as_py(), "the year 0")
    if pc.max(pc.binary_length(column)).as_py() > _LONGEST_WITHOUT_CUT:
        column = pc.replace_substring_regex(column, _BEYOND_MICROSECONDS, r"\1")
    return column.cast(_MICROSECONDS)


def _are_usual_moments(column: pa.StringArray) -> bool:
    """Whether all are of one length and have there the form of `_USUAL`; a fifth of the regular expression's cost."""
    edges = octets.offsets(column)
    width = int(edges[1] - edges[0]) if len(column) else 0
    if column.null_count or width not in _USUAL_LENGTHS or (np.diff(edges) != width).any():
        return False
    usual = np.frombuffer(_USUAL[: width - 1] + b"Z", np.uint8)
    most = np.where(usual == ord("0"), 9, 0).astype(np.uint8)
    moments = octets.data(column)[edges[0] : edges[-1]].reshape(len(column), width)
    # What is below "0" wraps round to more than 9.
    return bool((moments - usual <= most).all())


def _date(column: pa.StringArray, field: schemas.Field) -> pa.Array:
    require(not pc.any(pc.starts_with(column, "0000")).as_py(), "the year 0")
    require(pc.all(pc.equal(pc.binary_length(column), len("2026-01-31"))).as_py(), "not a date")
    return column.cast(pa.date32())


def _uuid(column: pa.StringArray, field: schemas.Field) -> pa.Array:
    require(pc.all(pc.match_substring_regex(column, UUID_PATTERN)).as_py(), "not a UUID")
    return pc.ascii_lower(column)


def _decimal(column: pa.Decimal128Array, field: schemas.Field) -> pa.Array:
    # The bulk reader brings numbers to the declared scale without a look at the precision.
    column.validate(full=True)
    return column


def _float(column: pa.DoubleArray, field: schemas.Field) -> pa.Array:
    # The bulk reader refuses 1e400, but makes infinity of as large a number that is written out in digits.
    require(pc.all(pc.is_finite(column)).as_py(), "no double holds it")
    return column


def _bytes(column: pa.StringArray, field: schemas.Field) -> pa.Array:
    values = [None if text is None else scalars.base64_bytes(text) for text in column.to_pylist()]
    octets = pa.array(values, pa.binary())
    require(octets.null_count == column.null_count, "not base64")
    return octets


_CONVERTERS = {
    _Types.TIMESTAMP: _timestamp,
    _Types.DATE: _date,
    _Types.UUID: _uuid,
    _Types.BYTES: _bytes,
    _Types.DECIMAL: _decimal,
    _Types.FLOAT64: _float,
}
