"""Requests into encoded blocks: the part of ingest that costs CPU, run on one worker thread.

Pure but for the thread's CPU clock. Events of all requests in a group are read together, because each read has a fixed cost;
what was refused is told apart again by the request it came in.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.core import blocks, columns, dedup, frames, octets, parse
from penstock.core import schema as schemas
from penstock.ingest import cloudevents
from penstock.ingest import settings as ingest_settings
from penstock.ingest import submission as submissions

_Indices = npt.NDArray[np.int64]
_FRAMERS = {
    submissions.Encoding.SINGLE: frames.single,
    submissions.Encoding.NDJSON: frames.ndjson,
    submissions.Encoding.JSON_ARRAY: frames.json_array,
    submissions.Encoding.CLOUD_EVENT: cloudevents.structured,
    submissions.Encoding.CLOUD_EVENT_BINARY: cloudevents.binary,
    submissions.Encoding.CLOUD_EVENTS: cloudevents.batch,
}

_SEPARATORS = {
    submissions.Encoding.NDJSON: (b"\n", 1),
    # Commas stand inside events too; where there are fewer than four for each that is allowed, counting them shows nothing.
    submissions.Encoding.JSON_ARRAY: (b",", 4),
    submissions.Encoding.CLOUD_EVENTS: (b",", 16),
}
"""What stands between events, and how many of them mean at least one event too many."""
_STRETCH_EVENTS = 10_000
_STRETCH_BYTES = 4 * 1024 * 1024
"""Of one request read at once: what the reader needs meanwhile is several times as much."""
_MOST_REFUSED = 10_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A record to be. `partition` None leaves the choice open; `requests` are the places of its requests in the group."""

    partition: int | None
    value: bytes
    headers: Mapping[str, bytes]
    rows: int
    requests: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one request will be told if its blocks become durable."""

    accepted: int
    rejected: tuple[parse.Rejection, ...] = ()
    unreadable: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    blocks: tuple[Block, ...]
    answers: tuple[Answer, ...]
    parse_cpu_seconds: float
    exact_events: int


@dataclasses.dataclass(slots=True, kw_only=True)
class _Read:
    """The accepted events of some requests in order, with the request of each, and the refused ones by request."""

    batches: list[pa.RecordBatch] = dataclasses.field(default_factory=list)
    owners: list[_Indices] = dataclasses.field(default_factory=list)
    rejected: dict[int, list[parse.Rejection]] = dataclasses.field(default_factory=dict)
    unreadable: dict[int, str] = dataclasses.field(default_factory=dict)
    exact_events: int = 0


class Composer:
    """Makes blocks for one pipeline. Not thread-safe: one call at a time."""

    def __init__(self, settings: ingest_settings.IngestSettings, partitions: int) -> None:
        self._settings = settings
        self._partitions = partitions
        self._documents = parse.EventParser(settings.schema, settings.max_event_bytes)
        self._columns = columns.ColumnReader(settings.schema, settings.max_event_bytes, settings.max_request_bytes)
        self._block_schema = blocks.block_schema(settings.schema)
        self._fingerprint = schemas.fingerprint(settings.schema)

    def compose(self, group: Sequence[submissions.Submission]) -> Composed:
        """Blocks and answers for a group of requests; a fault in one of them never touches another."""
        started = time.thread_time()
        read = self._read(group)
        parsed = time.thread_time()
        owners = np.concatenate(read.owners) if read.owners else np.zeros(0, np.int64)
        events = _joined(read.batches) if len(owners) else None
        read.batches.clear()
        made = tuple(self._blocks(events, owners, group)) if events is not None else ()
        accepted = np.bincount(owners, minlength=len(group)).tolist()
        answers = tuple(
            Answer(
                accepted=accepted[place],
                rejected=tuple(sorted(read.rejected.get(place, ()), key=lambda why: why.index)),
                unreadable=read.unreadable.get(place, ""),
            )
            for place in range(len(group))
        )
        return Composed(blocks=made, answers=answers, parse_cpu_seconds=parsed - started, exact_events=read.exact_events)

    def _read(self, group: Sequence[submissions.Submission]) -> _Read:
        read = _Read()
        runs = itertools.groupby(range(len(group)), key=lambda place: group[place].encoding is submissions.Encoding.ARROW)
        for is_arrow, places in runs:
            if is_arrow:
                for place in places:
                    self._read_columns(read, place, group[place])
            else:
                self._read_documents(read, list(places), group)
        return read

    def _read_columns(self, read: _Read, place: int, request: submissions.Submission) -> None:
        try:
            parsed = self._columns.read(bytes(request.payload))  # type: ignore[arg-type]  # bytes unless DOCUMENTS
        except frames.UnreadableBodyError as error:
            read.unreadable[place] = str(error)
            return
        read.batches.append(parsed.batch)
        read.owners.append(np.full(parsed.batch.num_rows, place, np.int64))
        read.rejected[place] = list(parsed.rejected)

    def _read_documents(self, read: _Read, places: Sequence[int], group: Sequence[submissions.Submission]) -> None:
        framed: list[frames.Frames] = []
        for place in places:
            try:
                frame = _framed(group[place])
            except frames.UnreadableBodyError as error:
                read.unreadable[place] = str(error)
                frame = frames.documents([])
            if len(frame.documents) > _STRETCH_EVENTS or group[place].size_bytes > _STRETCH_BYTES:
                self._read_together(read, places[: len(framed)], framed)
                self._read_at_length(read, place, frame)
                places, framed = places[len(framed) + 1 :], []
            else:
                framed.append(frame)
        self._read_together(read, places, framed)

    def _read_at_length(self, read: _Read, place: int, frame: frames.Frames) -> None:
        """One large request, stretch by stretch, until too many of its events are refused: each costs ten good ones."""
        read.rejected[place] = list(frame.broken)
        for start, stop in _cuts(octets.lengths(frame.documents), _STRETCH_EVENTS, _STRETCH_BYTES):
            if len(read.rejected[place]) > _MOST_REFUSED:
                index = int(frame.indices[start])
                read.rejected[place] = [why for why in read.rejected[place] if why.index < index]
                read.rejected[place].append(_not_read(index, len(read.rejected[place])))
                return
            stretch = frames.Frames(documents=frame.documents.slice(start, stop - start), indices=frame.indices[start:stop])
            before = read.rejected.pop(place)
            self._read_together(read, [place], [stretch])
            read.rejected[place] = before + read.rejected[place]

    def _read_together(self, read: _Read, places: Sequence[int], framed: Sequence[frames.Frames]) -> None:
        if not framed:
            return
        parsed = self._documents.parse(pa.concat_arrays([frame.documents for frame in framed]))
        owner_of = np.repeat(np.asarray(places, np.int64), [len(frame.documents) for frame in framed])
        index_of = np.concatenate([frame.indices for frame in framed])
        for place, frame in zip(places, framed, strict=True):
            read.rejected[place] = list(frame.broken)
        for why in parsed.rejected:
            read.rejected[int(owner_of[why.index])].append(dataclasses.replace(why, index=int(index_of[why.index])))
        read.batches.append(parsed.batch)
        read.owners.append(owner_of[parsed.accepted])
        read.exact_events += parsed.exact_events

    def _blocks(self, events: pa.RecordBatch, owners: _Indices, group: Sequence[submissions.Submission]) -> Iterator[Block]:
        whole = self._completed(events, owners, group)
        traceparent = next((request.traceparent for request in group if request.traceparent), "")
        for partition, rows in self._by_partition(whole):
            batch, owned = (whole, owners) if rows is None else (whole.take(pa.array(rows)), owners[rows])
            for start, stop in _cuts(_row_bytes(batch), self._settings.block_rows, self._settings.block_bytes):
                part = batch.slice(start, stop - start)
                value, headers = blocks.encode(part, self._fingerprint, traceparent)
                requests = tuple(np.unique(owned[start:stop]).tolist())
                yield Block(partition=partition, value=value, headers=headers, rows=part.num_rows, requests=requests)

    def _completed(self, events: pa.RecordBatch, owners: _Indices, group: Sequence[submissions.Submission]) -> pa.RecordBatch:
        """The events with the columns that tell when and in which trace their request came."""
        times = np.array([request.received_at_microseconds for request in group], np.int64)[owners]
        received_at = pa.array(times).cast(pa.timestamp("us", tz="UTC"))
        traces = [request.traceparent or None for request in group]
        trace = pa.array(traces, pa.string()).take(pa.array(owners)) if any(traces) else pa.nulls(len(owners), pa.string())
        arrays = dict(zip(events.schema.names, events.columns, strict=True))
        if self._settings.schema.whole_event:
            arrays["received_at"] = received_at
        arrays |= {blocks.RECEIVED_AT: received_at, blocks.TRACE: trace}
        return pa.RecordBatch.from_arrays([arrays[name] for name in self._block_schema.names], schema=self._block_schema)

    def _by_partition(self, batch: pa.RecordBatch) -> Iterator[tuple[int | None, _Indices | None]]:
        """Partitions with the rows that belong there, in order; None for any partition, None for all rows."""
        if not self._settings.key or self._partitions == 1:
            yield None, None
            return
        hashes = dedup.hash_keys([batch.column(name) for name in self._settings.key])
        chosen = (hashes % np.uint64(self._partitions)).astype(np.int64)
        for partition in np.unique(chosen).tolist():
            yield partition, np.flatnonzero(chosen == partition)


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _not_read(index: int, refused: int) -> parse.Rejection:
    reason = f"this event and all after it were not read, because {refused:,} before it were refused"
    remedy = "mend those, then send this and all after it again, in requests of at most a few thousand events"
    return parse.Rejection(index=index, code=parse.Code.MALFORMED, field="", reason=reason, remedy=remedy)


def _framed(request: submissions.Submission) -> frames.Frames:
    if not isinstance(request.payload, bytes):
        frames.bound(len(request.payload))
        return frames.documents(list(request.payload))
    separator, share = _SEPARATORS.get(request.encoding, (b"\n", frames.MOST_EVENTS))
    frames.bound(request.payload.count(separator) // share)
    framed = _FRAMERS[request.encoding](request.payload)
    frames.bound(len(framed.documents))
    return framed


def _cuts(sizes: npt.NDArray[np.int64], most_rows: int, most_bytes: int) -> Iterator[tuple[int, int]]:
    """Stretches of at most so many rows and bytes; a single event may be larger."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        below = ends[start - 1] if start else 0
        fitting = int(np.searchsorted(ends, below + most_bytes, side="right"))
        stop = max(start + 1, min(fitting, start + most_rows))
        yield start, stop
        start = stop


def _row_bytes(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """The bytes of each event; an average where they came in as columns."""
    sizes = octets.lengths(batch.column(blocks.ORIGINAL))
    nulls = batch.column(blocks.ORIGINAL).null_count
    return sizes if not nulls else np.full(batch.num_rows, -(-batch.nbytes // batch.num_rows), np.int64)
