"""Events that come in as Arrow columns instead of JSON, checked against the declared schema.

A client's buffers are as untrusted as its text: what they would grow to is bounded before they are decoded, and they are
validated in full before anything looks at them. A column of another type refuses the whole request, as every row has it; a
row that breaks a rule is refused alone. These events have no bytes of their own, so `_original` is NULL.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from penstock.core import blocks, frames, parse
from penstock.core import schema as schemas
from penstock.core.parsing import rejection, slots, stream_size

_Types = schemas.FieldType
_HOLDERS: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_struct,
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
)
_MEBIBYTE = 1024 * 1024
_LONGEST_SHOWN = 60
_ROW_AND_COLUMN_BYTES = 8
"""What a row costs at least in each column, also in one that the stream leaves out."""
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

    def __init__(self, schema: schemas.Schema, max_event_bytes: int = _MEBIBYTE, max_decoded_bytes: int = 64 * _MEBIBYTE) -> None:
        self._schema = schema
        self._max_event_bytes = max_event_bytes
        self._max_decoded_bytes = max_decoded_bytes
        self._arrow = schemas.arrow_schema(schema)
        self._batch_schema = self._arrow.append(pa.field(blocks.ORIGINAL, pa.binary()))

    def read(self, stream: bytes) -> parse.Parsed:
        """Raises frames.UnreadableBodyError when the stream or one of its columns can't be taken."""
        table = self._table(stream)
        self._refuse_unknown(table.schema)
        columns = [self._column(table, field) for field in self._schema.fields]
        originals = pa.nulls(table.num_rows, pa.binary())
        batch = pa.RecordBatch.from_arrays([*columns, originals], schema=self._batch_schema)
        rejected = self._too_large(columns)
        rejected += [why for column, field in zip(columns, self._schema.fields, strict=True) for why in _refusals(column, field)]
        return _without(batch, rejected)

    def _table(self, stream: bytes) -> pa.Table:
        buffer = pa.py_buffer(stream)
        try:
            self._refuse_growth(stream_size.measure(buffer))
            with ipc.open_stream(buffer, options=ipc.IpcReadOptions(use_threads=False)) as reader:
                table = reader.read_all()
            table.validate(full=True)
        except (pa.ArrowException, OSError, UnicodeDecodeError, struct.error) as error:
            raise frames.UnreadableBodyError(f"not an Arrow IPC stream that can be read: {error}") from error
        return table

    def _refuse_growth(self, size: stream_size.Size) -> None:
        least = size.rows * _ROW_AND_COLUMN_BYTES * max(1, len(self._schema.fields))
        most = self._max_decoded_bytes
        if size.decoded_bytes > most or least > 4 * most:
            found = f"{size.rows:,} rows and {size.decoded_bytes:,} bytes when decoded"
            raise frames.UnreadableBodyError(f"the stream holds {found}; {most:,} bytes are taken: send it in several requests")

    def _too_large(self, columns: list[pa.Array]) -> list[rejection.Rejection]:
        if not columns or not len(columns[0]):
            return []
        sizes = sum(map(slots.row_bytes, columns), np.zeros(len(columns[0]), np.int64))
        return [
            parse.too_large(int(sizes[row]), self._max_event_bytes).at(row)
            for row in np.flatnonzero(sizes > self._max_event_bytes).tolist()
        ]

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
        kind = table.schema.field(field.name).type
        if not _is_taken(kind):
            raise frames.UnreadableBodyError(f"column {field.name!r} holds {kind}: send plain lists, structs, text and numbers")
        column = table.column(field.name).combine_chunks()
        if _expanded_bytes(column) > self._max_decoded_bytes:
            raise frames.UnreadableBodyError(f"column {field.name!r} is too large when decoded: send it in several requests")
        plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        if not (plain.type.equals(wanted) or pa.types.is_null(plain.type) or _is_kin(plain.type, wanted)):
            raise _other_type(field.name, plain.type, wanted)
        try:
            return slots.canonical(plain.cast(wanted), field)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            raise _other_type(field.name, plain.type, wanted) from error


def _is_kin(have: pa.DataType, wanted: pa.DataType) -> bool:
    return any(belongs(have) and belongs(wanted) for belongs in _FAMILIES)


def _other_type(name: str, have: pa.DataType, wanted: pa.DataType) -> frames.UnreadableBodyError:
    return frames.UnreadableBodyError(f"column {name!r} holds {have}, the schema wants {wanted}: send it as that")


def _is_taken(kind: pa.DataType) -> bool:
    """Some encodings let many values share their bytes; what they grow to is known for whole columns only."""
    if pa.types.is_dictionary(kind):
        return not pa.types.is_nested(kind.value_type) and _is_plain(kind.value_type)
    return pa.types.is_string_view(kind) or pa.types.is_binary_view(kind) or _is_plain(kind)


def _is_plain(kind: pa.DataType) -> bool:
    if any(holds(kind) for holds in _HOLDERS):
        return all(_is_plain(kind.field(place).type) for place in range(kind.num_fields))
    is_view = pa.types.is_string_view(kind) or pa.types.is_binary_view(kind)
    return not (is_view or pa.types.is_nested(kind) or pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind))


def _expanded_bytes(column: pa.Array) -> int:
    """The bytes of all values when none are shared any more; 0 for what shares none."""
    if pa.types.is_dictionary(column.type):
        sizes = np.append(slots.row_bytes(_as_plain(column.dictionary)), 0)
        places = pc.fill_null(column.indices.cast(pa.int64()), len(sizes) - 1)
        return (
            int(sizes[np.frombuffer(places.buffers()[1], np.int64)[places.offset :][: len(places)]].sum()) if len(column) else 0
        )
    if pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
        views = np.frombuffer(column.buffers()[1] or b"", np.int32).reshape(-1, 4)
        return int(views[column.offset :][: len(column), 0].astype(np.int64).sum())
    return 0


def _as_plain(values: pa.Array) -> pa.Array:
    if pa.types.is_large_string(values.type) or pa.types.is_large_binary(values.type):
        return values.cast(pa.binary())
    return values


def _refusals(column: pa.Array, field: schemas.Field) -> list[rejection.Rejection]:
    refusals = []
    if field.required and column.null_count:
        why = rejection.mismatch(field.name, "required, but NULL", f"send {field.name} with every event, or drop required")
        refusals += [why.at(row) for row in _rows(pc.is_null(column))]
    for row in np.flatnonzero(slots.faulty(column, field)).tolist():
        reason = f"{_shown(column[row])} is not what {field.type.value} takes"
        refusals.append(rejection.mismatch(field.name, reason, f"send a valid {field.type.value}").at(row))
    return refusals


def _shown(value: pa.Scalar) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _rows(mask: pa.BooleanArray) -> list[int]:
    rows: list[int] = pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()
    return rows


def _without(batch: pa.RecordBatch, rejected: list[rejection.Rejection]) -> parse.Parsed:
    """Each refused row is named once, by the first of its faults."""
    first = {why.index: why for why in reversed(rejected)}
    accepted = np.setdiff1d(np.arange(batch.num_rows), np.array(sorted(first), np.int64))
    kept = batch.take(pa.array(accepted)) if first else batch
    return parse.Parsed(batch=kept, accepted=accepted, rejected=tuple(first[index] for index in sorted(first)), exact_events=0)
