"""Events' JSON documents into the declared columns, with an exact refusal for each one that does not fit.

A block of faultless events is read in bulk. From one that is not, the events that look faulty are set apart and read one at
a time, the rest is read in bulk again; if even that fails it is cut into parts until the faulty ones stand in a few small
ones. So neighbours of a bad event land and the bad one is named. Both ways of reading accept the same events and make the
same values; the exact one (parsing.exact) is the definition.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.core import blocks, octets
from penstock.core import schema as schemas
from penstock.core.parsing import bulk, convert, exact, rejection, sieve

Code = rejection.Code
Rejection = rejection.Rejection

_PARTS = 8
_FEW = 160
"""Where a bulk read fails on as many events as this, smaller ones cost more than reading these one by one."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """The accepted events in their order, and the refused ones by index.

    `accepted` holds the index of each row's document. `exact_events` counts the events that were read one by one.
    """

    batch: pa.RecordBatch
    accepted: npt.NDArray[np.int64]
    rejected: tuple[Rejection, ...]
    exact_events: int


class EventParser:
    """Reads documents under one schema. Raises ValueError at once if the schema's paths contradict each other."""

    def __init__(self, schema: schemas.Schema, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._columns = schemas.arrow_schema(schema)
        self._bulk = bulk.BulkReader(schema)
        self._exact = exact.ExactReader(schema)
        self._sieve = sieve.Sieve(schema)
        self.batch_schema: pa.Schema = self._columns.append(pa.field(blocks.ORIGINAL, pa.binary()))

    def parse(self, documents: Sequence[bytes] | pa.BinaryArray) -> Parsed:
        """One document is one event. The columns are the declared ones and `_original`."""
        originals = documents if isinstance(documents, pa.BinaryArray) else pa.array(documents, pa.binary())
        reading = _Reading(originals, self._bulk, self._exact, self._sieve, self._columns)
        for start, stop in self._stretches(originals, reading):
            reading.read(start, stop)
        return reading.result(self.batch_schema)

    def _stretches(self, originals: pa.BinaryArray, reading: _Reading) -> Iterator[tuple[int, int]]:
        """What lies between the events that are too large, in lengths that the bulk reader takes."""
        lengths = octets.lengths(originals)
        start = 0
        for large in [*np.flatnonzero(lengths > self._max_event_bytes).tolist(), len(originals)]:
            for first in range(start, large, bulk.MOST_EVENTS):
                yield first, min(first + bulk.MOST_EVENTS, large)
            if large < len(originals):
                reading.refuse(large, too_large(int(lengths[large]), self._max_event_bytes))
            start = large + 1


def too_large(size: int, limit: int) -> rejection.RefusedError:
    """The refusal of an event of that many bytes."""
    reason = f"{size:,} bytes, the limit is {limit:,}"
    return rejection.RefusedError(Code.TOO_LARGE, "", reason, "send it in parts, or raise source.ingest.maxEventBytes")


class _Reading:
    """One call of `parse` under way: what has been accepted and refused so far, in order."""

    def __init__(
        self,
        originals: pa.BinaryArray,
        bulk_reader: bulk.BulkReader,
        exact_reader: exact.ExactReader,
        guess: sieve.Sieve,
        columns: pa.Schema,
    ) -> None:
        self._originals = originals
        self._bulk, self._exact, self._sieve, self._columns = bulk_reader, exact_reader, guess, columns
        self._batches: list[pa.RecordBatch] = []
        self._accepted: list[npt.NDArray[np.int64]] = []
        self._rejected: list[Rejection] = []
        self._exact_events = 0

    def read(self, start: int, stop: int) -> None:
        """Events `start` to `stop`, in bulk if they all allow it."""
        indices = np.arange(start, stop)
        try:
            self._accept(self._bulk.read(self._originals.slice(start, stop - start)), indices)
        except convert.NotPlainError:
            self._sift(indices)

    def refuse(self, index: int, why: rejection.RefusedError) -> None:
        self._rejected.append(why.at(index))

    def result(self, schema: pa.Schema) -> Parsed:
        batches = [batch for batch in self._batches if batch.num_rows] or [exact.batch([], self._columns)]
        columns = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
        accepted = np.concatenate(self._accepted) if self._accepted else np.zeros(0, np.int64)
        if (np.diff(accepted) < 0).any():
            order = np.argsort(accepted)
            accepted, columns = accepted[order], columns.take(pa.array(order))
        kept = self._originals if len(accepted) == len(self._originals) else self._originals.take(pa.array(accepted))
        return Parsed(
            batch=pa.RecordBatch.from_arrays([*columns.columns, kept], schema=schema),
            accepted=accepted,
            rejected=tuple(sorted(self._rejected, key=lambda why: why.index)),
            exact_events=self._exact_events,
        )

    def _accept(self, batch: pa.RecordBatch, indices: npt.NDArray[np.int64]) -> None:
        self._batches.append(batch)
        self._accepted.append(indices)

    def _sift(self, indices: npt.NDArray[np.int64]) -> None:
        suspects = self._sieve.suspects(self._originals.take(pa.array(indices)).to_pylist())
        if suspects.any():
            self._read_one_by_one(indices[suspects])
            self._read_again(indices[~suspects])
        else:
            self._cut(indices)

    def _read_again(self, indices: npt.NDArray[np.int64]) -> None:
        if not len(indices):
            return
        try:
            self._accept(self._bulk.read(self._originals.take(pa.array(indices))), indices)
        except convert.NotPlainError:
            self._cut(indices)

    def _cut(self, indices: npt.NDArray[np.int64]) -> None:
        if len(indices) <= _FEW:
            self._read_one_by_one(indices)
            return
        for part in np.array_split(indices, _PARTS):
            self._read_again(part)

    def _read_one_by_one(self, indices: npt.NDArray[np.int64]) -> None:
        self._exact_events += len(indices)
        rows: list[exact.Values] = []
        fitting: list[int] = []
        for index in indices.tolist():
            try:
                rows.append(self._exact.read(self._originals[index].as_py()))
                fitting.append(index)
            except rejection.RefusedError as why:
                self.refuse(index, why)
            except exact.TooDeepError:
                self._read_deep(index)
        self._accept(exact.batch(rows, self._columns), np.array(fitting, np.int64))

    def _read_deep(self, index: int) -> None:
        """Only the bulk reader follows any depth, so alone it decides on such an event."""
        try:
            self._accept(self._bulk.read(self._originals.slice(index, 1)), np.array([index], np.int64))
        except convert.NotPlainError:
            self.refuse(index, rejection.malformed("nested too deep, or malformed within a deep nest", "send flatter events"))
