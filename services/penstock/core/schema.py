"""The declared schema of a pipeline's events, and the Arrow schema of the blocks made from it.

The schema is always declared, never inferred at run time: two inferred blocks do not concatenate. What is dynamic (type
JSON, unknown fields) stays JSON text.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa


class FieldType(enum.Enum):
    """The types of `spec.schema.fields[].type`; the value is the word the API uses."""

    STRING = "String"
    BOOLEAN = "Boolean"
    INT32 = "Int32"
    INT64 = "Int64"
    FLOAT64 = "Float64"
    DECIMAL = "Decimal"
    DATE = "Date"
    TIMESTAMP = "Timestamp"
    UUID = "Uuid"
    BYTES = "Bytes"
    JSON = "Json"
    LIST = "List"
    STRUCT = "Struct"


class TimestampFormat(enum.Enum):
    RFC3339 = "Rfc3339"
    EPOCH_MILLISECONDS = "EpochMilliseconds"
    EPOCH_SECONDS = "EpochSeconds"


class UnknownFields(enum.Enum):
    """What becomes of a field that the schema does not name."""

    KEEP = "Keep"
    DROP = "Drop"
    REJECT = "Reject"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One declared field. `path` is a JSONPath of member names ("$.meta.device-id"); empty means the field's own name.

    `element` belongs to LIST, `fields` to STRUCT, `precision` and `scale` to DECIMAL, `format` to TIMESTAMP.
    """

    name: str
    type: FieldType
    required: bool = False
    coerce: bool = False
    path: str = ""
    format: TimestampFormat = TimestampFormat.RFC3339
    precision: int = 18
    scale: int = 4
    element: Field | None = None
    fields: tuple[Field, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """All declared fields. `whole_event` is the schema of a pipeline that declares none: `event Json, received_at Timestamp`.

    `added`: columns that the source puts beside them. Expressions may read them; nothing selects them unasked, and no event
    has them.
    """

    fields: tuple[Field, ...]
    unknown_fields: UnknownFields = UnknownFields.KEEP
    whole_event: bool = False
    added: tuple[Field, ...] = ()


TYPE_METADATA = b"penstock.type"
"""Key of the Arrow field metadata that tells text which holds JSON or a UUID from any other text."""

_MARKED = (FieldType.JSON, FieldType.UUID)


@functools.cache
def _plain_types() -> dict[FieldType, pa.DataType]:
    return {
        FieldType.STRING: _arrow().string(),
        FieldType.BOOLEAN: _arrow().bool_(),
        FieldType.INT32: _arrow().int32(),
        FieldType.INT64: _arrow().int64(),
        FieldType.FLOAT64: _arrow().float64(),
        FieldType.DATE: _arrow().date32(),
        FieldType.TIMESTAMP: _arrow().timestamp("us", tz="UTC"),
        FieldType.UUID: _arrow().string(),
        FieldType.BYTES: _arrow().binary(),
        FieldType.JSON: _arrow().string(),
    }


@functools.cache
def _arrow() -> Any:
    """The column library, which an operator that compares schemas never needs: a third of its memory."""
    import pyarrow

    return pyarrow


def arrow_type(field: Field) -> pa.DataType:
    """The type of the field's column in a block. UUIDs are canonical lower-case text: engines cast it, stores take it."""
    if field.type is FieldType.DECIMAL:
        return _arrow().decimal128(field.precision, field.scale)
    if field.type is FieldType.LIST:
        if field.element is None:
            raise ValueError(f"field {field.name!r}: a List needs an element")
        return _arrow().list_(arrow_field(dataclasses.replace(field.element, name="item")))
    if field.type is FieldType.STRUCT:
        return _arrow().struct([arrow_field(member) for member in field.fields])
    return _plain_types()[field.type]


def arrow_field(field: Field) -> pa.Field:
    """Always nullable, also when required: what is required may change while older blocks wait in the log."""
    metadata = {TYPE_METADATA: field.type.value.encode()} if field.type in _MARKED else None
    return _arrow().field(field.name, arrow_type(field), metadata=metadata)


def arrow_schema(schema: Schema) -> pa.Schema:
    """The declared columns in their declared order, without the columns that every block adds (core.blocks)."""
    return _arrow().schema([arrow_field(field) for field in schema.fields])


def added_fields(schema: Schema) -> list[pa.Field]:
    """The columns that the source adds."""
    return [arrow_field(field) for field in schema.added]


def fingerprint(schema: Schema) -> str:
    """16 hex digits naming the shape of the columns: equal exactly when names, order and types are.

    How events are read into the columns (path, coerce, format, required) does not change the shape. The digest is over
    canonical JSON of our own words, so no library's or interpreter's rendering is in it.
    """
    shape = json.dumps([_shape(field) for field in schema.fields], separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(shape.encode("ascii")).hexdigest()[:16]


def _shape(field: Field) -> list[object]:
    inner: list[object] = []
    if field.type is FieldType.DECIMAL:
        inner = [field.precision, field.scale]
    elif field.type is FieldType.LIST and field.element is not None:
        inner = [_shape(dataclasses.replace(field.element, name="item"))]
    elif field.type is FieldType.STRUCT:
        inner = [_shape(member) for member in field.fields]
    return [field.name, field.type.value, *inner]
