"""Cutting the text of JSON fields out of many events, which the bulk JSON reader can't do.

msgspec reads each event into an object that has only the members which are, or lead to, JSON text, each as the raw bytes.
Where unknown fields are refused it knows every member, so that it can refuse the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from penstock.core import schema as schemas
from penstock.core.parsing import convert, layout

_SLICE_BYTES = 128 * 1024
"""msgspec holds the interpreter for one call; this much keeps other threads' waits below a millisecond."""

_Objects = list[Any]


def attribute(place: int) -> str:
    """The attribute that holds the member at this place in its object; JSON names need not be identifiers."""
    return f"m{place}"


class Envelope:
    """Reads the JSON texts of events of one schema."""

    def __init__(self, places: Sequence[layout.Place], *, refuse_unknown: bool) -> None:
        self._refuse_unknown = refuse_unknown
        self._event = self._object([self._place_type(place) for place in places], [place.name for place in places])
        self._one = msgspec.json.Decoder(self._event)

    def read(self, text: bytes, starts: npt.NDArray[np.int64]) -> _Objects:
        """One object per event. `text` holds the events, each ended by a line break; `starts` are their offsets and the end.

        Raises NotPlainError.
        """
        try:
            return list(self._objects(text, starts))
        except (msgspec.DecodeError, RecursionError) as error:
            raise convert.NotPlainError(str(error)) from error

    def _objects(self, text: bytes, starts: npt.NDArray[np.int64]) -> Iterator[object]:
        if text.count(b"\n") != len(starts) - 1:
            yield from (self._one.decode(text[start:end]) for start, end in itertools.pairwise(starts.tolist()))
            return
        view = memoryview(text)
        cuts = np.unique(np.searchsorted(starts, np.arange(0, starts[-1] + _SLICE_BYTES, _SLICE_BYTES)).clip(max=len(starts) - 1))
        for first, last in itertools.pairwise(cuts.tolist()):
            yield from self._one.decode_lines(view[starts[first] : starts[last]])

    def _place_type(self, place: layout.Place) -> Any:
        if place.field is not None:
            return self._field_type(place.field)
        members = place.members
        if not self._refuse_unknown and not layout.holds_json_text(_fields(members)):
            return None
        return self._object([self._place_type(member) for member in members], [member.name for member in members]) | None

    def _field_type(self, field: schemas.Field) -> Any:
        """None: nothing here is wanted."""
        wanted = layout.holds_json_text((field,))
        if field.type is schemas.FieldType.STRUCT and (wanted or self._refuse_unknown):
            types = [self._field_type(member) for member in field.fields]
            return self._object(types, [member.name for member in field.fields]) | None
        if field.type is schemas.FieldType.LIST and field.element is not None and (wanted or self._refuse_unknown):
            inner: Any = self._field_type(field.element) or msgspec.Raw
            return list[inner] | None
        return msgspec.Raw if wanted or self._refuse_unknown else None

    def _object(self, types: Sequence[Any], names: Sequence[str]) -> Any:
        wanted = [(place, kind) for place, kind in enumerate(types) if kind is not None]
        return msgspec.defstruct(
            "Object",
            [(attribute(place), kind, msgspec.Raw(b"null") if kind is msgspec.Raw else None) for place, kind in wanted],
            rename={attribute(place): names[place] for place, _ in wanted},
            forbid_unknown_fields=self._refuse_unknown,
            gc=False,
        )


def _fields(places: Sequence[layout.Place]) -> list[schemas.Field]:
    return [field for place in places for field in ([place.field] if place.field else _fields(place.members))]


def members(objects: _Objects, place: int) -> _Objects:
    """That member of each object; None where there is no object."""
    name = attribute(place)
    return [None if holder is None else getattr(holder, name) for holder in objects]


def items(objects: _Objects) -> _Objects:
    """The items of all lists, one after the other."""
    return [item for holder in objects if holder is not None for item in holder]


def texts(value: Any) -> Any:
    """A JSON text, or lists of them, as pyarrow takes it; null is None."""
    if value is None:
        return None
    if isinstance(value, list):
        return [texts(item) for item in value]
    octets = bytes(value)
    return None if octets == b"null" else octets
