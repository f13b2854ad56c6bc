"""Reading many faultless events at once with pyarrow's JSON reader.

That reader is fast and too trusting: it joins and splits events at will, takes NaN for a number and bytes for text. So
events are framed by line breaks, must begin and end like an object, are counted, and are checked for what it lets through.
A document that begins with `{`, ends with `}` and is followed by a line break and another `{` can't run on into its
neighbour, as strings hold no raw line breaks; it can only hold too many objects, which the count shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from penstock.core import octets
from penstock.core import schema as schemas
from penstock.core.parsing import convert, envelope, layout, nonfinite

MOST_EVENTS = 50_000
"""At most this many events at once; pyarrow refuses blocks of more than 100,000 rows."""

_WHITESPACE = " \t\r\n"


class BulkReader:
    """Reads events of one schema, many at a time, or not at all."""

    def __init__(self, schema: schemas.Schema) -> None:
        self._schema = schema
        self._columns = schemas.arrow_schema(schema)
        self._places = layout.places(() if schema.whole_event else schema.fields)
        self._steps = [layout.steps(field) for field in schema.fields]
        refuses = schema.unknown_fields is schemas.UnknownFields.REJECT and not schema.whole_event
        has_texts = layout.holds_json_text(schema.fields) and not schema.whole_event
        self._envelope = envelope.Envelope(self._places, refuse_unknown=refuses) if has_texts else None
        self._plain = frozenset(field.name for field in schema.fields if _is_plain(field))
        self._options = arrow_json.ParseOptions(
            explicit_schema=pa.schema(_read_fields(self._places)),
            newlines_in_values=False,
            unexpected_field_behavior="error" if refuses and not has_texts else "ignore",
        )

    def read(self, documents: pa.BinaryArray) -> pa.RecordBatch:
        """The declared columns, one row per document. Raises NotPlainError when any document is not plainly right."""
        try:
            text, starts = _framed(documents)
            table = self._table(text, len(documents))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise convert.NotPlainError(str(error)) from error
        if self._schema.whole_event:
            return self._whole(documents)
        objects = self._envelope.read(text, starts) if self._envelope else None
        arrays = [
            self._column(table, objects, field, steps) for field, steps in zip(self._schema.fields, self._steps, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self._columns)

    def _table(self, text: bytes, count: int) -> pa.Table:
        options = arrow_json.ReadOptions(use_threads=False, block_size=len(text) + 1)
        table = arrow_json.read_json(pa.BufferReader(text), read_options=options, parse_options=self._options)
        convert.require(table.num_rows == count, "documents and rows differ in number")
        return table

    def _whole(self, documents: pa.BinaryArray) -> pa.RecordBatch:
        rest = [pa.nulls(len(documents), field.type) for field in list(self._columns)[1:]]
        return pa.RecordBatch.from_arrays([documents.cast(pa.string()), *rest], schema=self._columns)

    def _column(self, table: pa.Table, objects: Any, field: schemas.Field, steps: Sequence[str]) -> pa.Array:
        places: Sequence[layout.Place] = self._places
        for name in steps:
            place = [other.name for other in places].index(name)
            leads = objects is not None and _leads_to_text(places[place])
            objects = envelope.members(objects, place) if leads else None
            places = places[place].members
        column = None if layout.is_json_text(field) else _at(table, steps)
        if column is not None and field.name in self._plain and not (field.required and column.null_count):
            return column
        return _assembled(field, column, objects, nulls_allowed=0)


def _at(table: pa.Table, steps: Sequence[str]) -> pa.Array:
    chunks = table.column(steps[0])
    # combine_chunks copies, even a single chunk.
    column = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
    return pc.struct_field(column, list(steps[1:])) if len(steps) > 1 else column


def _leads_to_text(place: layout.Place) -> bool:
    if place.field is not None:
        return layout.holds_json_text((place.field,))
    return any(_leads_to_text(member) for member in place.members)


def _read_fields(places: Sequence[layout.Place]) -> list[pa.Field]:
    fields = []
    for place in places:
        if place.field is None:
            fields.append(pa.field(place.name, pa.struct(_read_fields(place.members))))
        elif not layout.is_json_text(place.field):
            fields.append(pa.field(place.name, convert.read_type(place.field)))
    return fields


def _framed(documents: pa.BinaryArray) -> tuple[bytes, npt.NDArray[np.int64]]:
    """The documents as one text, each ended by a line break, and where each starts in it (and where the text ends)."""
    lines = documents.cast(pa.string())
    if not _are_braced(lines):
        lines = pc.utf8_trim(lines, characters=_WHITESPACE)
        convert.require(_are_braced(lines), "not one object per document")
    ended = pc.binary_join_element_wise(lines.cast(pa.binary()), b"", b"\n")
    starts = octets.offsets(ended).astype(np.int64)
    # The values of a column that was just made lie end to end in its buffer: that is the text.
    text = ended.buffers()[2].slice(0, int(starts[-1])).to_pybytes()
    convert.require(b"\0" not in text, "a NUL byte")
    convert.require(not nonfinite.may_stand_in(text), "NaN or Infinity")
    return text, starts


def _are_braced(lines: pa.StringArray) -> bool:
    ends = octets.offsets(lines)
    if np.diff(ends).min() < 2:
        return False
    data = octets.data(lines)
    return bool((data[ends[:-1]] == ord("{")).all() and (data[ends[1:] - 1] == ord("}")).all())


def _assembled(field: schemas.Field, column: pa.Array | None, objects: Any, *, nulls_allowed: int) -> pa.Array:
    """The column in its declared type; `objects` are the envelope's for the same slots, where it has any.

    `nulls_allowed` is how many slots are NULL because what holds them is.
    """
    if layout.is_json_text(field):
        result = pa.array([envelope.texts(value) for value in objects], schemas.arrow_type(field))
    elif column is None:
        raise AssertionError(f"no column was read for {field.name}")
    elif field.type is schemas.FieldType.STRUCT:
        result = _struct(field, column, objects)
    elif field.type is schemas.FieldType.LIST and field.element is not None:
        result = _list(field, field.element, column, objects)
    else:
        result = convert.converted(column, field)
    convert.require(not field.required or result.null_count == nulls_allowed, f"{field.name} is required")
    return result


def _struct(field: schemas.Field, column: pa.StructArray, objects: Any) -> pa.Array:
    read = dict(zip([inner.name for inner in column.type], column.flatten(), strict=True))
    members = [
        _assembled(
            member,
            read.get(member.name),
            envelope.members(objects, place) if layout.holds_json_text((member,)) else None,
            nulls_allowed=column.null_count,
        )
        for place, member in enumerate(field.fields)
    ]
    return pa.StructArray.from_arrays(members, fields=list(schemas.arrow_type(field)), mask=column.is_null())


def _list(field: schemas.Field, element: schemas.Field, column: pa.ListArray, objects: Any) -> pa.Array:
    items = column.flatten()
    inner = envelope.items(objects) if layout.holds_json_text((element,)) else None
    return convert.rebuilt_list(column, _assembled(element, items, inner, nulls_allowed=0), field)


def _is_plain(field: schemas.Field) -> bool:
    """Whether what was read needs neither conversion nor checking."""
    if layout.is_json_text(field) or convert.is_converted(field):
        return False
    inner = (*field.fields, *([field.element] if field.element else []))
    return not any(member.required or not _is_plain(member) for member in inner)
