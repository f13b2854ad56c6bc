"""Penstock's types and Postgres': what a new column gets, what an existing one takes, and how its values travel.

Pure. A pair of types is the same, lossless, or text that the server parses row by row; everything else is a mismatch that a
person settles with a cast, because the server would round, cut off or shift in silence. Values travel into a staging table:
most in the binary form of the target's own type, the rest as text that the INSERT casts.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import pyarrow as pa

from penstock.core import schema
from penstock.sinks.postgres import numerics

_JSON_TYPES = frozenset({"json", "jsonb"})
_TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "citext", "name"})
_NOT_PARSED = frozenset(
    {"bool", "bytea", "int2", "int4", "int8", "float4", "float8", "numeric", "date", "time", "timetz", "timestamp", "timestamptz"}
)
_INTEGERS = {"int2": 16, "int4": 32, "int8": 64}
_ELEMENT_OIDS = {
    "bool": 16, "bytea": 17, "int8": 20, "int2": 21, "int4": 23, "text": 25, "json": 114, "float4": 700, "float8": 701,
    "bpchar": 1042, "varchar": 1043, "date": 1082, "time": 1083, "timestamp": 1114, "timestamptz": 1184, "numeric": 1700,
    "uuid": 2950, "jsonb": 3802,
}  # fmt: skip
"""Of pg_type.dat, the same in every database."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A type of the server. `full` has the modifier (varchar(5)) and `bare` has not; `name` is the catalogue's word, for a
    domain that of its base. `element` is the name of an array's element; `scale` is that of numeric(p, s)."""

    name: str
    full: str
    bare: str
    element: str = ""
    scale: int | None = None
    composite: bool = False


class Form(enum.Enum):
    """How the values of a column are written into the COPY stream."""

    BOOLEAN = "boolean"
    NUMBER = "number"
    NUMERIC = "numeric"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    UUID = "uuid"
    TEXT = "text"
    BYTES = "bytes"
    JSONB = "jsonb"
    DOCUMENT = "document"
    """A list or struct as JSON text; a slow path, value by value."""
    ARRAY = "array"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a column's values travel: their form, the staging column's type, the type the INSERT casts to ("" for none).

    `target` is the catalogue's name of what the form is written for.
    """

    form: Form
    staging: str
    target: str
    cast: str = ""
    element: Way | None = None


def way(field: pa.Field[Any], column: Type) -> Way | None:
    """How `field` gets into `column`; None where it does not fit."""
    type_ = plain(field.type)
    if column.element:
        return _array(type_, column)
    if column.composite:
        return None
    if _is_nested(type_):
        return _document(column) if column.name in _JSON_TYPES else None
    if pa.types.is_string(type_):
        return _text(field, column)
    form = _form(type_, column)
    return _binary(form, column) if form else _as_text(type_, column)


def default(field: pa.Field[Any]) -> str:
    """The type of a column that is made for `field`. Raises ValueError where there is none."""
    type_ = plain(field.type)
    marked = (field.metadata or {}).get(schema.TYPE_METADATA, b"").decode()
    if pa.types.is_list(type_):
        inner = plain(type_.value_type)
        return "jsonb" if _is_nested(inner) else f"{default(type_.value_field)}[]"
    if _is_nested(type_) or marked == schema.FieldType.JSON.value:
        return "jsonb"
    if marked == schema.FieldType.UUID.value:
        return "uuid"
    return _default_scalar(type_)


def plain(type_: pa.DataType) -> pa.DataType:
    """The type the values are brought to before they are written: without dictionary, view or 64-bit offsets."""
    if pa.types.is_dictionary(type_):
        return plain(type_.value_type)
    if pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
        return pa.string()
    if pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_):
        return pa.binary()
    if pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_):
        return pa.list_(type_.value_field)
    if pa.types.is_timestamp(type_) and type_.unit in ("s", "ms"):
        return pa.timestamp("us", type_.tz)
    return type_


def _default_scalar(type_: pa.DataType) -> str:
    if pa.types.is_decimal(type_):
        return f"numeric({type_.precision},{type_.scale})"
    for is_type, name in _DEFAULTS:
        if is_type(type_):
            return name
    raise ValueError(f"Postgres has no type for {type_}")


_DEFAULTS = (
    (pa.types.is_string, "text"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_int8, "smallint"),
    (pa.types.is_int16, "smallint"),
    (pa.types.is_uint8, "smallint"),
    (pa.types.is_int32, "integer"),
    (pa.types.is_uint16, "integer"),
    (pa.types.is_int64, "bigint"),
    (pa.types.is_uint32, "bigint"),
    (pa.types.is_uint64, "numeric(20,0)"),
    (pa.types.is_float32, "real"),
    (pa.types.is_float64, "double precision"),
    (pa.types.is_date32, "date"),
    (lambda type_: pa.types.is_timestamp(type_) and type_.unit == "us" and type_.tz is not None, "timestamptz"),
    (lambda type_: pa.types.is_timestamp(type_) and type_.unit == "us", "timestamp"),
    (lambda type_: pa.types.is_time64(type_) and type_.unit == "us", "time"),
    (pa.types.is_binary, "bytea"),
    (lambda type_: pa.types.is_fixed_size_binary(type_) and type_.byte_width == 16, "uuid"),
)


def _is_nested(type_: pa.DataType) -> bool:
    return any(is_type(type_) for is_type in (pa.types.is_struct, pa.types.is_list, pa.types.is_map))


def _binary(form: Form, column: Type) -> Way:
    return Way(form=form, staging=column.full, target=column.name)


def _text(field: pa.Field[Any], column: Type) -> Way | None:
    if column.name in _TEXT_TYPES or column.name == "json":
        return _binary(Form.TEXT, column)
    if column.name == "jsonb":
        return _binary(Form.JSONB, column)
    if column.name == "uuid":
        # Other ways of writing one are the server's to read; what Penstock has checked is canonical.
        marked = (field.metadata or {}).get(schema.TYPE_METADATA) == schema.FieldType.UUID.value.encode()
        return _binary(Form.UUID, column) if marked else _cast(column)
    return None if column.name in _NOT_PARSED else _cast(column)


def _cast(column: Type) -> Way:
    # Not to the full type: an explicit cast to varchar(5) cuts off what the assignment would refuse.
    return Way(form=Form.TEXT, staging="text", target="text", cast=column.bare)


def _document(column: Type) -> Way:
    return Way(form=Form.DOCUMENT, staging=column.full, target=column.name)


def _as_text(type_: pa.DataType, column: Type) -> Way | None:
    """What has one way to be written, into a column of text; decimals that are too wide for the binary form too."""
    if pa.types.is_decimal(type_) and _takes_scale(type_.scale, column):
        return _cast(column)
    written = pa.types.is_integer(type_) or pa.types.is_decimal(type_) or pa.types.is_boolean(type_)
    return _binary(Form.TEXT, column) if written and column.name in _TEXT_TYPES else None


def _form(type_: pa.DataType, column: Type) -> Form | None:
    name = column.name
    if pa.types.is_integer(type_):
        return _integer(type_, column)
    if pa.types.is_floating(type_):
        return Form.NUMBER if name == "float8" or (name == "float4" and type_.bit_width == 32) else None
    if pa.types.is_decimal128(type_):
        small = type_.precision <= numerics.MOST_DIGITS and 0 <= type_.scale <= numerics.MOST_SCALE
        return Form.NUMERIC if small and _takes_scale(type_.scale, column) else None
    same = _SAME.get(name)
    return same[1] if same and same[0](type_) else None


_SAME = {
    "bool": (pa.types.is_boolean, Form.BOOLEAN),
    "date": (pa.types.is_date32, Form.DATE),
    "time": (lambda type_: pa.types.is_time64(type_) and type_.unit == "us", Form.TIME),
    "timestamp": (lambda type_: pa.types.is_timestamp(type_) and type_.unit == "us" and type_.tz is None, Form.TIMESTAMP),
    "timestamptz": (lambda type_: pa.types.is_timestamp(type_) and type_.unit == "us" and bool(type_.tz), Form.TIMESTAMP),
    "bytea": (pa.types.is_binary, Form.BYTES),
    "uuid": (lambda type_: pa.types.is_fixed_size_binary(type_) and type_.byte_width == 16, Form.UUID),
}


def _integer(type_: pa.DataType, column: Type) -> Form | None:
    signed = type_.bit_width + pa.types.is_unsigned_integer(type_)
    if column.name == "numeric":
        return Form.NUMERIC if _takes_scale(0, column) else None
    if column.name == "float8":
        return Form.NUMBER if type_.bit_width <= 32 else None
    return Form.NUMBER if signed <= _INTEGERS.get(column.name, 0) else None


def _takes_scale(scale: int, column: Type) -> bool:
    """Whether no digit after the point is rounded away; too many before it are refused by the server, row by row."""
    return column.name == "numeric" and (column.scale is None or column.scale >= scale)


def _array(type_: pa.DataType, column: Type) -> Way | None:
    if pa.types.is_string(type_):
        return _cast(column)
    if not pa.types.is_list(type_) or column.element not in _ELEMENT_OIDS:
        return None
    inner = Type(name=column.element, full=column.element, bare=column.element)
    element = way(type_.value_field, inner)
    if element is None or element.cast or element.form in (Form.DOCUMENT, Form.ARRAY):
        return None
    return Way(form=Form.ARRAY, staging=column.full, target=column.element, element=element)


def element_oid(name: str) -> int:
    return _ELEMENT_OIDS[name]
