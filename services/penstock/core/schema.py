"""The declared schema of a pipeline's events, and the Arrow schema of the blocks made from it.

The schema is always declared, never inferred at run time: two inferred blocks do not concatenate. What is dynamic (type
JSON, unknown fields) stays JSON text.
"""

from __future__ import annotations

import dataclasses
import enum


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
    """All declared fields. `whole_event` is the schema of a pipeline that declares none: `event Json, received_at Timestamp`."""

    fields: tuple[Field, ...]
    unknown_fields: UnknownFields = UnknownFields.KEEP
    whole_event: bool = False
