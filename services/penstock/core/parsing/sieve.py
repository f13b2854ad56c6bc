"""Finding the events of a block that the bulk reader would stumble over, at about a microsecond each.

The bulk reader says that something in a block is not plainly right, not where. msgspec reads each event into an object of
the declared types and throws it away: where that fails the event is a suspect and is read exactly, so the rest can still be
read in bulk. It is a guess either way: a suspect may be right, and what passes may still not be plain, in which case the
caller cuts the block into parts.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from penstock.core import schema as schemas
from penstock.core.parsing import envelope, layout

_Types = schemas.FieldType
_INT32 = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
_INT64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_SCALARS: dict[schemas.FieldType, Any] = {
    _Types.STRING: str,
    _Types.BOOLEAN: bool,
    _Types.INT32: _INT32,
    _Types.INT64: _INT64,
    _Types.FLOAT64: float,
    _Types.DECIMAL: decimal.Decimal,
    _Types.DATE: datetime.date,
    _Types.UUID: uuid.UUID,
    _Types.BYTES: bytes,
    _Types.JSON: msgspec.Raw,
}
_RFC3339 = Annotated[datetime.datetime, msgspec.Meta(tz=True)]


class Sieve:
    """Tells suspects from the rest, for one schema."""

    def __init__(self, schema: schemas.Schema) -> None:
        fields = () if schema.whole_event else schema.fields
        self._refuse_unknown = schema.unknown_fields is schemas.UnknownFields.REJECT and not schema.whole_event
        self._decode = msgspec.json.Decoder(self._members(layout.places(fields))).decode

    def suspects(self, documents: Sequence[bytes]) -> npt.NDArray[np.bool_]:
        """One flag per document."""
        decode = self._decode
        found = np.zeros(len(documents), np.bool_)
        for index, document in enumerate(documents):
            try:
                decode(document)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                found[index] = True
        return found

    def _members(self, places: Sequence[layout.Place]) -> Any:
        named = [(place.name, self._place_type(place), _is_needed(place)) for place in places]
        return self._object(named)

    def _place_type(self, place: layout.Place) -> Any:
        return self._members(place.members) if place.field is None else self._type(place.field)

    def _type(self, field: schemas.Field) -> Any:
        if field.type is _Types.STRUCT:
            return self._object([(member.name, self._type(member), member.required) for member in field.fields])
        if field.type is _Types.LIST and field.element is not None:
            inner = self._type(field.element)
            return list[inner if field.element.required else _optional(inner)]  # type: ignore[misc]
        if field.type is _Types.TIMESTAMP:
            return _RFC3339 if field.format is schemas.TimestampFormat.RFC3339 else _INT64
        return _SCALARS[field.type]

    def _object(self, members: Sequence[tuple[str, Any, bool]]) -> Any:
        """A struct of (JSON name, type, needed)."""
        names = {envelope.attribute(place): name for place, (name, _, _) in enumerate(members)}
        fields: list[Any] = [
            (attribute, kind) if needed else (attribute, _optional(kind), None)
            for attribute, (_, kind, needed) in zip(names, members, strict=True)
        ]
        return msgspec.defstruct(
            "Object", fields, kw_only=True, rename=names, forbid_unknown_fields=self._refuse_unknown, gc=False
        )


def _optional(kind: Any) -> Any:
    # A Raw takes null as it is, and msgspec has no union of it with anything else.
    return kind if kind is msgspec.Raw else kind | None


def _is_needed(place: layout.Place) -> bool:
    if place.field is not None:
        return place.field.required
    return any(map(_is_needed, place.members))
