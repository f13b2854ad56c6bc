"""`spec.schema` and `spec.deduplicate`: what an event looks like, and when two of them are the same."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from penstock.api.model import base

MAX_DEPTH = 4
"""Levels of fields and elements together: a List of Struct uses two, the fields inside are the third."""

ValueType = Literal[
    "String", "Boolean", "Int32", "Int64", "Float64", "Decimal", "Date", "Timestamp", "Uuid", "Bytes", "Json", "List", "Struct"
]


class Element(base.Model):
    """The type of a value: of a field, or of each item of a list."""

    type: ValueType
    """What the value is. Json is any JSON value, kept as text and reached with ->> in SQL. Bytes are base64 in JSON."""
    coerce: bool = False
    """Also take a value that is written as another type, such as "12" for Int64. Otherwise it is refused."""
    format: Literal["Rfc3339", "EpochMilliseconds", "EpochSeconds"] | None = None
    """How a Timestamp is written. Omitted: Rfc3339, such as "2026-01-31T08:00:00Z"."""
    precision: Annotated[int, base.whole(1, 38)] | None = None
    """Digits of a Decimal in all. Omitted: 18."""
    scale: Annotated[int, base.whole(0, 38)] | None = None
    """Digits of a Decimal after the point. Omitted: 4."""
    element: Element | None = None
    """The type of the items. Belongs to List."""
    fields: Annotated[tuple[Field, ...], base.named(64, minimum=1)] | None = None
    """The fields inside. Belongs to Struct."""


class Field(Element):
    """One declared field."""

    name: base.Column
    """Name of the field, and of its column in SQL."""
    required: bool = False
    """Refuse events without this field. Otherwise a missing one is NULL."""
    path: Annotated[str, base.text(255, base.JSON_PATH)] | None = None
    """Where the value stands in the event, such as "$.meta.device-id". Omitted: under the field's own name."""


class Schema(base.Model):
    """The declared fields of an event. It is never guessed at run time."""

    unknown_fields: Literal["Keep", "Drop", "Reject"] = "Keep"
    """What becomes of fields that aren't declared. Keep: reachable in SQL as original->>'$.name' and kept in dead letters.
    Drop: forgotten. Reject: the event is refused."""
    fields: Annotated[tuple[Field, ...], base.named(256, minimum=1)]
    """The fields. Each becomes a column."""


class Deduplicate(base.Model):
    """When two events are the same: the second one is counted and lands nowhere."""

    key: Annotated[tuple[base.Column, ...], pydantic.Field(min_length=1, max_length=8)]
    """Events that are equal in these fields are the same. Fields of the event, declared and required. Can't change while
    events are unread."""
    window_seconds: Annotated[int, base.whole(1, 7 * 86_400)] = 600
    """How far back an equal event is looked for."""
    max_events_per_partition: Annotated[int, base.whole(1000, 200_000_000)] = 5_000_000
    """How many events back, at most, an equal one is looked for. Bounds the memory: about 24 bytes an event."""
