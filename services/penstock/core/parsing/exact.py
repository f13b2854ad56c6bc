"""Reading one event exactly: slowly, with the name of the field at fault.

This is the definition of what an event may be. The bulk reader is only ever believed where it agrees with this one.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence

import msgspec
import pyarrow as pa

from penstock.core import schema as schemas
from penstock.core.parsing import layout, rejection, scalars

Values = list[object]
"""One value per declared column, as pyarrow takes it for the column's type."""


class TooDeepError(Exception):
    """The event nests deeper than this reader follows; the bulk reader has no such limit."""


class _Members(dict[str, object]):
    """A JSON object, and the names that stand in it more than once."""

    __slots__ = ("twice",)

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.twice: frozenset[str] = frozenset()
        if len(self) != len(pairs):
            names = [name for name, _ in pairs]
            self.twice = frozenset(name for name in self if names.count(name) > 1)


_WHITESPACE = " \t\r\n"
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)")
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


class ExactReader:
    """Reads events of one schema, one at a time."""

    def __init__(self, schema: schemas.Schema) -> None:
        self._fields = schema.fields
        self._whole_event = schema.whole_event
        self._rejects_unknown = schema.unknown_fields is schemas.UnknownFields.REJECT and not schema.whole_event
        self._places = layout.places(schema.fields)
        self._steps = [layout.steps(field) for field in schema.fields]
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_Members,
            parse_int=scalars.IntegerToken,
            parse_float=scalars.RealToken,
            parse_constant=_refuse_constant,
        )

    def read(self, document: bytes) -> Values:
        """Raises RefusedError; TooDeepError where Python's own limit on recursion is met."""
        try:
            event = self._object(document)
            if self._whole_event:
                return [document.decode(), *[None] * (len(self._fields) - 1)]
            if self._rejects_unknown:
                _refuse_unknown(event, self._places, "")
            return [self._value(event, document, field, steps) for field, steps in zip(self._fields, self._steps, strict=True)]
        except RecursionError as error:
            raise TooDeepError from error

    def _object(self, document: bytes) -> _Members:
        text = _utf8(document).strip(_WHITESPACE)
        if text.startswith("\ufeff"):
            raise rejection.malformed("the event begins with a byte order mark", "send JSON without one")
        if not text:
            raise rejection.malformed("the event is empty")
        try:
            event, end = self._decoder.raw_decode(text)
        except json.JSONDecodeError as error:
            raise rejection.malformed(f"{error.msg} at character {error.pos}", "send valid JSON (RFC 8259)") from error
        if text[end:].strip(_WHITESPACE):
            raise rejection.malformed(f"more text after the JSON value, at character {end}")
        _refuse_lone_surrogates(text)
        if not isinstance(event, _Members):
            raise rejection.malformed(f"an event is one JSON object, this is {_shown(event)}")
        return event

    def _value(self, event: _Members, document: bytes, field: schemas.Field, steps: tuple[str, ...]) -> object:
        inner: object = event
        for depth, name in enumerate(steps[:-1]):
            inner = _member(inner, name, ".".join(steps[: depth + 1]))
            if inner is None:
                break
            if not isinstance(inner, _Members):
                raise rejection.mismatch(".".join(steps[: depth + 1]), f"{_shown(inner)} is not an object", "send an object")
        path = ".".join(steps)
        value = _member(inner, steps[-1], path, repeatable=layout.is_json_text(field)) if inner is not None else None
        return _taken(value, field, path, functools.partial(_text_at, document, steps))


def _taken(value: object, field: schemas.Field, path: str, text: functools.partial[bytes]) -> object:
    """The typed value; `text` gives the JSON text of this place, wanted for JSON fields only."""
    if value is None:
        if field.required:
            raise rejection.mismatch(path, "required, but missing or null", f"send {path} with every event, or drop required")
        return None
    if field.type is schemas.FieldType.JSON:
        return text().decode()
    if field.type is schemas.FieldType.STRUCT:
        return _struct(value, field, path, text)
    if field.type is schemas.FieldType.LIST:
        return _list(value, field, path, text)
    return scalars.read(value, field, path)


def _struct(value: object, field: schemas.Field, path: str, text: functools.partial[bytes]) -> dict[str, object]:
    if not isinstance(value, _Members):
        raise scalars.not_a(value, field, path)
    return {
        member.name: _taken(
            _member(value, member.name, f"{path}.{member.name}", repeatable=layout.is_json_text(member)),
            member,
            f"{path}.{member.name}",
            functools.partial(_member_text, text, member.name),
        )
        for member in field.fields
    }


def _list(value: object, field: schemas.Field, path: str, text: functools.partial[bytes]) -> list[object]:
    if not isinstance(value, list) or field.element is None:
        raise scalars.not_a(value, field, path)
    texts = functools.lru_cache(maxsize=1)(lambda: _ITEMS.decode(text()))
    return [
        _taken(item, field.element, f"{path}[{place}]", functools.partial(_item_text, texts, place))
        for place, item in enumerate(value)
    ]


def _member(holder: object, name: str, path: str, *, repeatable: bool = False) -> object:
    """A repeated JSON member has its last value, as the reader that cuts out texts sees only that; others are refused."""
    assert isinstance(holder, _Members)  # noqa: S101 - callers have looked
    if name in holder.twice and not repeatable:
        raise rejection.mismatch(path, "stands in the event more than once", "send each member once")
    return holder.get(name)


def _text_at(document: bytes, steps: Sequence[str]) -> bytes:
    text: msgspec.Raw | bytes = document
    for name in steps:
        text = _MEMBERS.decode(text)[name]
    return bytes(text)


def _member_text(holder: functools.partial[bytes], name: str) -> bytes:
    return bytes(_MEMBERS.decode(holder())[name])


def _item_text(texts: functools._lru_cache_wrapper[list[msgspec.Raw]], place: int) -> bytes:
    return bytes(texts()[place])


def _utf8(document: bytes) -> str:
    try:
        return document.decode("utf-8")
    except UnicodeDecodeError as error:
        raise rejection.malformed(f"not UTF-8: {error.reason} at byte {error.start}", "send JSON as UTF-8") from error


def _refuse_constant(name: str) -> object:
    raise rejection.malformed(f"{name} is not JSON", "send null, or text")


def _refuse_lone_surrogates(text: str) -> None:
    if "\\" not in text:
        return
    owed = False
    end = -1
    for escape in _ESCAPE.finditer(text):
        unit = int(escape[1], 16) if escape[1] else 0
        is_low = 0xDC00 <= unit < 0xE000
        if is_low != (owed and escape.start() == end) or (owed and not is_low):
            raise rejection.malformed(f"half of a surrogate pair near character {escape.start()}", "send whole characters")
        owed, end = 0xD800 <= unit < 0xDC00, escape.end()
    if owed:
        raise rejection.malformed("half of a surrogate pair", "send whole characters")


def _refuse_unknown(value: object, places: Sequence[layout.Place], path: str) -> None:
    if not isinstance(value, _Members):
        return
    known = {place.name: place for place in places}
    for name, inner in value.items():
        here = f"{path}.{name}" if path else name
        place = known.get(name)
        if place is None:
            raise rejection.mismatch(here, "the schema has no such field", "declare the field, or set unknownFields: Keep")
        _refuse_unknown_inside(inner, place.field, place.members, here)


def _refuse_unknown_inside(value: object, field: schemas.Field | None, members: Sequence[layout.Place], path: str) -> None:
    if field is None:
        _refuse_unknown(value, members, path)
    elif field.type is schemas.FieldType.STRUCT:
        _refuse_unknown(value, layout.places(field.fields), path)
    elif field.type is schemas.FieldType.LIST and isinstance(value, list):
        for place, item in enumerate(value):
            _refuse_unknown_inside(item, field.element, (), f"{path}[{place}]")


def _shown(value: object) -> str:
    return "null" if value is None else scalars.describe(value)


def batch(rows: Sequence[Values], schema: pa.Schema) -> pa.RecordBatch:
    """The rows as columns of `schema`."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
