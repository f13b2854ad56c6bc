"""Values in Confluent's framing, a zero byte and the schema's number before the Avro binary, into the declared columns.

Values of one schema are read together, whoever stands between them. What can't be read is told one by one, with the field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from penstock.core import blocks, octets, parse
from penstock.core import schema as schemas
from penstock.core.parsing import rejection
from penstock.core.records.avro import cursor, nodes, readers, resolve

FRAME_BYTES = 5
_MAGIC = 0
_REMEDY = "write records with the Avro serializer of the registry that spec.source.kafka.format.registry names"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """What the registry says of a number that it doesn't have, or that is no Avro schema."""

    reason: str


Known = Mapping[int, "nodes.Node | Missing"]


def numbers(framed_values: pa.BinaryArray) -> cursor.Index:
    """The schema's number of each value; -1 where there is no frame. NULLs have none."""
    lengths = octets.lengths(framed_values)
    data = np.concatenate([octets.data(framed_values), np.zeros(FRAME_BYTES, np.uint8)])
    starts = octets.offsets(framed_values)[: len(framed_values)].astype(np.int64)
    frame = data[starts[:, None] + np.arange(FRAME_BYTES)].astype(np.int64)
    found = (frame[:, 1] << 24) | (frame[:, 2] << 16) | (frame[:, 3] << 8) | frame[:, 4]
    valid = framed_values.is_valid().to_numpy(zero_copy_only=False)
    return np.where((lengths >= FRAME_BYTES) & (frame[:, 0] == _MAGIC) & valid, found, -1)


class Records:
    """`known` holds every schema that comes up by the time it is read. Not thread-safe."""

    def __init__(self, schema: schemas.Schema, known: Known) -> None:
        self._schema, self._known = schema, known
        self._columns = schemas.arrow_schema(schema)
        self._none = pa.RecordBatch.from_pylist([], schema=self._columns)
        self._made: dict[int, readers.Record | readers.UnfitError] = {}
        self.batch_schema: pa.Schema = self._columns.append(pa.field(blocks.ORIGINAL, pa.binary()))

    def read(self, framed_values: pa.BinaryArray) -> parse.Parsed:
        """`_original` is NULL: what a record holds is no JSON, and its own bytes are read again where they are needed."""
        chosen = numbers(framed_values)
        rejected: dict[int, parse.Rejection] = {row: _unframed(row) for row in np.flatnonzero(chosen < 0).tolist()}
        batches, accepted = [], []
        for number in np.unique(chosen[chosen >= 0]).tolist():
            rows = np.flatnonzero(chosen == number)
            batch, faults = self._of_one(number, framed_values.take(pa.array(rows)), rows)
            rejected |= faults
            kept = np.array([row not in faults for row in rows.tolist()], dtype=bool)
            if kept.any():
                batches.append(batch if kept.all() else batch.filter(pa.array(kept)))
                accepted.append(rows[kept])
        return self._parsed(batches, accepted, rejected)

    def _parsed(
        self, batches: list[pa.RecordBatch], accepted: list[cursor.Index], rejected: Mapping[int, parse.Rejection]
    ) -> parse.Parsed:
        found = np.concatenate(accepted) if accepted else np.zeros(0, np.int64)
        columns = pa.concat_batches(batches) if batches else self._none
        if (np.diff(found) < 0).any():
            order = np.argsort(found)
            found, columns = found[order], columns.take(pa.array(order))
        originals = pa.nulls(len(found), pa.binary())
        return parse.Parsed(
            batch=pa.RecordBatch.from_arrays([*columns.columns, originals], schema=self.batch_schema),
            accepted=found,
            rejected=tuple(rejected[row] for row in sorted(rejected)),
            exact_events=0,
        )

    def _of_one(
        self, number: int, framed: pa.BinaryArray, rows: cursor.Index
    ) -> tuple[pa.RecordBatch, dict[int, parse.Rejection]]:
        known = self._known.get(number) or Missing(reason=f"schema {number} has not been asked for")
        if isinstance(known, Missing):
            return self._none, {row: _refused(row, rejection.Code.MALFORMED, "", known.reason, _REMEDY) for row in rows.tolist()}
        made = self._reader(number, known)
        if isinstance(made, readers.UnfitError):
            reason = f"schema {number} has {made.written} where {made.declared} is declared"
            mismatch = rejection.Code.SCHEMA_MISMATCH
            return None, {
                row: _refused(row, mismatch, made.field, reason, "declare the field as it is written") for row in rows.tolist()
            }
        at = _cursor(framed, rows)
        batch = self._batch(made, known, at)
        left = at.places != at.ends
        at.refuse(left, "", f"bytes behind what schema {number} says")
        refusals = {
            row: _refused(row, rejection.Code.MALFORMED, field, f"{reason} (schema {number})", _REMEDY)
            for row, (field, reason) in at.faults.found.items()
        }
        return batch, refusals | dict(self._required(batch, rows, refusals))

    def _batch(self, made: readers.Record, known: nodes.Node, at: cursor.Cursor) -> pa.RecordBatch:
        if self._schema.whole_event:
            events = readers.Text(made, known).read(at)
            return pa.RecordBatch.from_arrays([events, pa.nulls(len(at), self._columns.field(1).type)], schema=self._columns)
        found = made.columns(at)
        arrays = [found[field.name] if field.name in found else pa.nulls(len(at), field.type) for field in self._columns]
        return pa.RecordBatch.from_arrays(arrays, schema=self._columns)

    def _required(
        self, batch: pa.RecordBatch, rows: cursor.Index, refused: Mapping[int, parse.Rejection]
    ) -> Iterator[tuple[int, parse.Rejection]]:
        for field in self._schema.fields:
            column = batch.column(field.name)
            if field.required and column.null_count:
                for at in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
                    if (row := int(rows[at])) not in refused:
                        mismatch = rejection.Code.SCHEMA_MISMATCH
                        yield (
                            row,
                            _refused(
                                row, mismatch, field.name, "missing or null, and required", "write it, or declare it as optional"
                            ),
                        )

    def _reader(self, number: int, known: nodes.Node) -> readers.Record | readers.UnfitError:
        if number not in self._made:
            try:
                self._made[number] = resolve.event(known, self._schema)
            except readers.UnfitError as error:
                self._made[number] = error
        return self._made[number]


def _cursor(framed: pa.BinaryArray, rows: cursor.Index) -> cursor.Cursor:
    edges = octets.offsets(framed).astype(np.int64)
    data = np.concatenate([octets.data(framed), np.zeros(cursor.PADDING, np.uint8)])
    return cursor.Cursor(data, rows, edges[:-1] + FRAME_BYTES, edges[1:].copy(), cursor.Faults())


def _unframed(row: int) -> parse.Rejection:
    reason = "does not begin with a zero byte and a schema's number"
    return _refused(row, rejection.Code.MALFORMED, "", reason, _REMEDY)


def _refused(row: int, code: rejection.Code, field: str, reason: str, remedy: str) -> parse.Rejection:
    return parse.Rejection(index=row, code=code, field=field, reason=reason, remedy=remedy)
