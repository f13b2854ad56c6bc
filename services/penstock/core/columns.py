"""Events that come in as Arrow columns instead of JSON, checked against the declared schema.

A client's buffers are as untrusted as its text: they are validated in full before anything looks at them. A column of
another type refuses the whole request, as every row has it; a row that breaks a rule is refused alone. JSON and UUID text is
checked at the top level; inside structs and lists it is taken as it is. These events have no bytes of their own, so
`_original` is NULL.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from penstock.core import blocks, frames, parse
from penstock.core import schema as schemas
from penstock.core.parsing import convert, rejection, scalars

_Types = schemas.FieldType
_JSON = msgspec.json.Decoder(msgspec.Raw)
_FAMILIES: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind),
    lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind),
    lambda kind: pa.types.is_timestamp(kind) and kind.tz is not None,
    pa.types.is_nested,
)


class ColumnReader:
    """Reads Arrow IPC streams under one schema into what `parse.EventParser` makes of JSON."""

    def __init__(self, schema: schemas.Schema) -> None:
        self._schema = schema
        self._arrow = schemas.arrow_schema(schema)
        self._batch_schema = self._arrow.append(pa.field(blocks.ORIGINAL, pa.binary()))

    def read(self, stream: bytes) -> parse.Parsed:
        """Raises frames.UnreadableBodyError when the stream or one of its columns can't be taken."""
        table = _table(stream)
        self._refuse_unknown(table.schema)
        columns = [self._column(table, field) for field in self._schema.fields]
        originals = pa.nulls(table.num_rows, pa.binary())
        batch = pa.RecordBatch.from_arrays([*columns, originals], schema=self._batch_schema)
        rejected = [why for column, field in zip(columns, self._schema.fields, strict=True) for why in _refusals(column, field)]
        return _without(batch, rejected)

    def _refuse_unknown(self, found: pa.Schema) -> None:
        unknown = [name for name in found.names if name not in self._arrow.names]
        if unknown and self._schema.unknown_fields is schemas.UnknownFields.REJECT:
            raise frames.UnreadableBodyError(f"the schema has no column {unknown[0]!r}: leave it out, or declare it")

    def _column(self, table: pa.Table, field: schemas.Field) -> pa.Array:
        wanted = self._arrow.field(field.name).type
        if table.schema.names.count(field.name) > 1:
            raise frames.UnreadableBodyError(f"column {field.name!r} stands in the stream more than once")
        if field.name not in table.schema.names:
            return pa.nulls(table.num_rows, wanted)
        column = table.column(field.name).combine_chunks()
        plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        if not (plain.type.equals(wanted) or pa.types.is_null(plain.type) or _is_kin(plain.type, wanted)):
            raise _other_type(field.name, plain.type, wanted)
        try:
            cast = plain.cast(wanted)
            return pc.ascii_lower(cast) if field.type is _Types.UUID else cast
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise _other_type(field.name, plain.type, wanted) from error


def _is_kin(have: pa.DataType, wanted: pa.DataType) -> bool:
    return any(belongs(have) and belongs(wanted) for belongs in _FAMILIES)


def _other_type(name: str, have: pa.DataType, wanted: pa.DataType) -> frames.UnreadableBodyError:
    return frames.UnreadableBodyError(f"column {name!r} holds {have}, the schema wants {wanted}: send it as that")


def _table(stream: bytes) -> pa.Table:
    try:
        with ipc.open_stream(pa.py_buffer(stream), options=ipc.IpcReadOptions(use_threads=False)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise frames.UnreadableBodyError(f"not an Arrow IPC stream that can be read: {error}") from error
    return table


def _refusals(column: pa.Array, field: schemas.Field) -> list[rejection.Rejection]:
    refusals = []
    if field.required and column.null_count:
        why = rejection.mismatch(field.name, "required, but NULL", f"send {field.name} with every event, or drop required")
        refusals += [why.at(row) for row in _rows(pc.is_null(column))]
    for row in _faulty_rows(column, field):
        reason = f"{column[row]} is not what {field.type.value} takes"
        refusals.append(rejection.mismatch(field.name, reason, f"send a valid {field.type.value}").at(row))
    return refusals


def _faulty_rows(column: pa.Array, field: schemas.Field) -> list[int]:
    if field.type is _Types.UUID:
        return _rows(pc.invert(pc.match_substring_regex(column, convert.UUID_PATTERN)))
    if field.type is _Types.JSON:
        return [row for row, text in enumerate(column.to_pylist()) if text is not None and not _is_json(text)]
    if field.type is _Types.TIMESTAMP:
        moments = column.cast(pa.int64())
        outside = pc.or_(pc.less(moments, scalars.EARLIEST_MICROSECONDS), pc.greater(moments, scalars.LATEST_MICROSECONDS))
        return _rows(outside)
    return []


def _is_json(text: str) -> bool:
    try:
        _JSON.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _rows(mask: pa.BooleanArray) -> list[int]:
    rows: list[int] = pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()
    return rows


def _without(batch: pa.RecordBatch, rejected: list[rejection.Rejection]) -> parse.Parsed:
    """Each refused row is named once, by the first of its faults."""
    first = {why.index: why for why in reversed(rejected)}
    accepted = np.setdiff1d(np.arange(batch.num_rows), np.array(sorted(first), np.int64))
    kept = batch.take(pa.array(accepted)) if first else batch
    return parse.Parsed(batch=kept, accepted=accepted, rejected=tuple(first[index] for index in sorted(first)), exact_events=0)
