"""From log records to rows, on the lane's worker thread: decode, deduplicate, explode and map.

Everything here is columns. A block is judged exactly once per assignment, in offset order; what is made of it afterwards
(transform calls bounded in rows, slices, retries) uses that one verdict.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.batcher import settings as lane_settings
from penstock.batcher.reading import decoding
from penstock.core import addresses, blocks, dedup, schema
from penstock.core.batching import chunks
from penstock.core.records import decode
from penstock.core.state import letters as state_letters
from penstock.core.state import spec as state_spec
from penstock.core.state import table as state_table
from penstock.core.transform import spec, transform
from penstock.log import port

Index = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlockVerdict:
    """What is known of one block after reading it: `transformed` events go on, the others are settled."""

    offset: int
    append_time_microseconds: int
    producer: str
    sequence: int
    schema_fingerprint: str
    events: int
    duplicates: int
    too_large: tuple[int, ...]
    """Ordinals of events that make more rows than any event may, or more bytes of rows."""
    killers: Mapping[addresses.Position, str] = dataclasses.field(default_factory=dict)
    """Events that have killed a process (batcher.guarding.suspects), and how."""
    span: int = 1
    places: Index | None = None
    """Offsets of the events of a run by ordinal; None for a block, at whose offset all of them stand."""
    tombstones: int = 0
    unread: Sequence[decode.Unread] = ()
    """Records of a run whose values can't be read. `events` counts these and the tombstones too."""

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + self.span

    @property
    def refused(self) -> int:
        """Events that are dead-lettered whole."""
        return len(self.too_large) + len(self.killers) + len(self.unread)

    @property
    def transformed(self) -> int:
        """Events that go on to the transform."""
        return self.events - self.duplicates - self.refused - self.tombstones

    def position(self, ordinal: int) -> addresses.Position:
        """Of one of its events."""
        return addresses.Position(self.offset, ordinal) if self.places is None else addresses.Position(int(self.places[ordinal]))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Consecutive blocks of one partition, decoded and judged: the events that go on, and where each of them stands."""

    log_id: str
    partition: int
    blocks: Sequence[BlockVerdict]
    events: chunks.Events
    table: pa.Table
    lengths: Index
    """Rows each event will make."""
    sizes: Index
    """Bytes that its rows will repeat of it, and may make of it in expressions that multiply."""
    items: Sequence[Sequence[int]] | None = None
    """Replays only: the item ordinals of which each event makes rows; an event that names none makes all of its rows."""

    def runs(self, most_rows: int, most_bytes: int) -> Iterator[tuple[int, int]]:
        """Stretches [start, stop) of events, each making at most so many rows and bytes, but at least one event."""
        bounds = ((np.cumsum(self.lengths), most_rows), (np.cumsum(self.sizes), most_bytes))
        start, events = 0, len(self.lengths)
        while start < events:
            stops = (_fitting(total, start, most) for total, most in bounds)
            stop = max(start + 1, min(stops))
            yield start, stop
            start = stop

    def stretch(self, start: int, stop: int) -> addresses.Range:
        """The part of the log that events [start, stop) answer for; together the runs cover the whole group."""
        first = self.blocks[0].offset
        last = self.blocks[-1].end
        begin = addresses.Position(first) if start == 0 else self.events.position(start)
        end = addresses.Position(last) if stop == len(self.lengths) else self.events.position(stop)
        return addresses.Range(self.log_id, self.partition, begin, end)


def _fitting(total: Index, start: int, most: int) -> int:
    """Where the stretch from `start` ends whose sum is at most `most`; `total` are the running sums."""
    before = int(total[start - 1]) if start else 0
    return int(np.searchsorted(total, before + most, side="right"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One transform call's outcome, with counts by block offset for the ledger."""

    chunk: chunks.Chunk
    failures: Sequence[spec.RowFailure]
    counts: dict[int, RunCounts]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunCounts:
    """What one run did to one block. Each number has its own source; the ledger compares them."""

    events: int
    without_rows: int
    made: int
    filtered: int
    other_lanes: int
    rows: int
    failed: int


def portions(records: Sequence[port.Record], most_bytes: int) -> Iterator[Sequence[port.Record]]:
    """The records in order, as many at a time as surely decode to `most_bytes` together, but at least one."""
    start, held = 0, 0
    for place, record in enumerate(records):
        size = blocks.decoded_bytes(record.headers)
        if place > start and held + size > most_bytes:
            yield records[start:place]
            start, held = place, 0
        held += size
    yield records[start:]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _ReadBlock:
    """One block after it was judged: the events that go on, with their ordinals, rows and repeated bytes."""

    verdict: BlockVerdict
    batch: pa.RecordBatch
    offsets: Index
    ordinals: Index
    lengths: Index
    sizes: Index


class Preparer:
    """Not thread-safe: one instance per lane, used from the lane's one worker thread."""

    def __init__(self, settings: lane_settings.LaneSettings, log_id: str) -> None:
        self._settings, self._log_id = settings, log_id
        self._transform = transform.Transform(
            settings.transform,
            memory_limit_bytes=settings.transform_memory_bytes,
            time_limit_seconds=settings.transform_seconds,
            made_limit_bytes=settings.row_bytes,
            clock=time.thread_time,
        )
        self._arrow = _block_schema(settings.event_schema)
        self._decoder = decoding.for_lane(settings)
        self._columns = self._needed()
        self._tables: dict[int, dedup.DedupTable] = {}
        self._states: dict[int, state_table.StateTable] = {}
        self.stage_seconds = dict.fromkeys(("decode", "deduplicate", "state", "explode", "transform"), 0.0)

    def _needed(self) -> tuple[str, ...]:
        keyed = self._settings.transform.state
        names = [name for name in self._transform.input_columns if not state_spec.is_hidden(name)]
        names += keyed.fields if keyed else []
        explode, deduplicate = self._settings.transform.explode, self._settings.deduplicate
        names += [explode.field] if explode else []
        names += deduplicate.key if deduplicate else []
        return tuple(dict.fromkeys(names))

    @property
    def output_schema(self) -> pa.Schema:
        """The rows' columns as the sink will see them."""
        return self._transform.output_schema

    @property
    def tables(self) -> dict[int, dedup.DedupTable]:
        """Deduplication tables by partition, for their gauges."""
        return self._tables

    @property
    def declared(self) -> pa.Schema:
        """The columns of a block."""
        return self._arrow

    @property
    def states(self) -> dict[int, state_table.StateTable]:
        """State of the keys by partition; empty without state."""
        return self._states

    def forget(self, partition: int) -> None:
        """The partition is no longer ours; going on with its tables later would judge blocks out of order."""
        self._tables.pop(partition, None)
        self._states.pop(partition, None)

    def adopt(self, partition: int, judged: dedup.DedupTable | None, keyed: state_table.StateTable | None) -> None:
        """Go on from these tables, which have seen everything below the lane's position."""
        if judged is not None:
            self._tables[partition] = judged
        if keyed is not None:
            self._states[partition] = keyed

    def _with_state(self, partition: int, batch: pa.RecordBatch, duplicate: npt.NDArray[np.bool_]) -> pa.RecordBatch:
        """And what each event that is no duplicate finds of its key."""
        told = self._settings.transform.state
        if told is None:
            return batch
        if partition not in self._states:
            self._states[partition] = state_table.StateTable(told)
        return _with_columns(batch, told, self._states[partition].see(batch, ~duplicate))

    def _table(self, partition: int) -> dedup.DedupTable:
        told = self._settings.deduplicate
        if partition not in self._tables and told:
            made = dedup.DedupTable(window_microseconds=told.window_microseconds, max_events=told.max_events)
            self._tables[partition] = made
        return self._tables[partition]

    def _judge(self, record: port.Record, decoded: decoding.Decoded) -> npt.NDArray[np.bool_]:
        told, batch = self._settings.deduplicate, decoded.batch
        if not told:
            return np.zeros(batch.num_rows, dtype=bool)
        hashes = dedup.hash_keys([batch.column(name) for name in told.key])
        table = self._table(record.partition)
        verdicts = [table.judge(time, hashes[part]) for time, part in decoded.stretches(record.append_time_microseconds)]
        return verdicts[0] if len(verdicts) == 1 else np.concatenate(verdicts)

    def _decode(self, record: port.Record, columns: Sequence[str]) -> decoding.Decoded:
        """Raises CorruptBlockError, BlockFormatError."""
        decoded = self._decoder.decode(record, columns)
        wanted = pa.schema([self._arrow.field(name) for name in columns])
        return dataclasses.replace(decoded, batch=blocks.conform(decoded.batch, wanted))

    def read(self, partition: int, records: Sequence[port.Record]) -> Group:
        """Decode and judge consecutive blocks of one partition. Raises CorruptBlockError, BlockFormatError."""
        read = [self._read_block(partition, record) for record in records]
        self._settings.failpoint("lane.judged")
        started = time.thread_time()
        kept = np.concatenate([part.ordinals for part in read])
        counts = [len(part.ordinals) for part in read]
        blocks_of = np.repeat(np.array([record.offset for record in records], dtype=np.int64), counts)
        foreign = any(part.verdict.places is not None for part in read)
        table = pa.Table.from_batches([part.batch for part in read])
        self.stage_seconds["decode"] += time.thread_time() - started
        return Group(
            log_id=self._log_id,
            partition=partition,
            blocks=[part.verdict for part in read],
            events=chunks.Events(
                offsets=np.concatenate([part.offsets for part in read]) if foreign else blocks_of,
                ordinals=kept,
                blocks=blocks_of if foreign else None,
            ),
            table=table,
            lengths=np.concatenate([part.lengths for part in read]),
            sizes=np.concatenate([part.sizes for part in read]),
        )

    def _read_block(self, partition: int, record: port.Record) -> _ReadBlock:
        started = time.thread_time()
        found = self._decode(record, self._columns)
        batch, decoded = found.batch, time.thread_time()
        self._settings.failpoint("lane.decoded")
        duplicate = self._judge(record, found)
        judged = time.thread_time()
        self.stage_seconds["decode"] += decoded - started
        self.stage_seconds["deduplicate"] += judged - decoded
        batch = self._with_state(partition, batch, duplicate)
        self.stage_seconds["state"] += time.thread_time() - judged
        lengths, sizes = self.lengths(batch), self.sizes(batch)
        too_large = ~duplicate & self.are_too_large(lengths, sizes)
        going_on = ~duplicate & ~too_large
        verdict = BlockVerdict(
            offset=record.offset,
            append_time_microseconds=record.append_time_microseconds,
            producer=record.producer,
            sequence=record.sequence,
            schema_fingerprint=blocks.read_header(record.headers).fingerprint,
            events=batch.num_rows + found.tombstones + len(found.unread),
            duplicates=int(np.count_nonzero(duplicate)),
            too_large=tuple(np.flatnonzero(too_large).tolist()),
            span=record.span,
            places=found.offsets,
            tombstones=found.tombstones,
            unread=found.unread,
        )
        ordinals = np.flatnonzero(going_on)
        kept = batch if len(ordinals) == batch.num_rows else batch.filter(pa.array(going_on))
        made = self.grown(pa.Table.from_batches([kept]), sizes[ordinals])
        return _ReadBlock(
            verdict=verdict,
            batch=kept,
            offsets=ordinals if found.offsets is None else found.offsets[ordinals],
            ordinals=ordinals if found.offsets is None else np.zeros(len(ordinals), dtype=np.int64),
            lengths=lengths[ordinals],
            sizes=made,
        )

    def grown(self, events: pa.Table, repeated: Index) -> Index:
        """Bytes that events, none of them too large, repeat in their rows, and what expressions may multiply them to."""
        growth = self._transform.growth_bytes(events)
        return repeated if growth is None else repeated + growth

    def are_too_large(self, lengths: Index, sizes: Index) -> npt.NDArray[np.bool_]:
        """Which events make more rows than any event may, or repeat more bytes in them."""
        return (lengths > self._settings.event_rows) | (sizes > self._settings.event_bytes)

    @property
    def too_large_message(self) -> str:
        """Why such an event is refused, and the remedy."""
        rows, mebibytes = self._settings.event_rows, self._settings.event_bytes >> 20
        return (
            f"the event makes more than {rows:,} rows, or more than {mebibytes:,} MiB of text repeated in its rows; "
            "send smaller arrays, or select less of what stands beside them"
        )

    def wanted(self, batch: pa.RecordBatch, seen: Sequence[bytes]) -> pa.RecordBatch:
        """The columns a group needs, of a batch that has all those of a block, with the state that each event's letter tells."""
        wanted = blocks.conform(batch, pa.schema([self._arrow.field(name) for name in self._columns]))
        told = self._settings.transform.state
        if told is None:
            return wanted
        return _with_columns(wanted, told, state_letters.decode(told, seen))

    def lengths(self, batch: pa.RecordBatch) -> Index:
        """Rows each event of a block makes: its array's length, by `whenEmpty` at least one."""
        explode = self._settings.transform.explode
        if not explode:
            return np.ones(batch.num_rows, dtype=np.int64)
        counted = pc.fill_null(pc.list_value_length(batch.column(explode.field)), 0)
        lengths = np.asarray(counted.to_numpy(zero_copy_only=False), dtype=np.int64)
        return np.maximum(lengths, 1) if explode.when_empty is spec.WhenEmpty.KEEP else lengths

    def sizes(self, batch: pa.RecordBatch) -> Index:
        """Bytes that the rows of each event of a block repeat of it."""
        return self.lengths(batch) * self._transform.repeated_bytes(batch)

    def transform(self, group: Group, start: int, stop: int, born: float) -> Prepared:
        """Run the query over events [start, stop) of a group."""
        began, exploded = time.thread_time(), self._transform.explode_seconds
        events = group.table.slice(start, stop - start).select(list(self._transform.input_columns))
        numbered = events.append_column(spec.EVENT_COLUMN, pa.array(np.arange(stop - start, dtype=np.int32)))
        made = self._transform.run(numbered, group.items[start:stop] if group.items is not None else None)
        exploding = self._transform.explode_seconds - exploded
        self.stage_seconds["explode"] += exploding
        self.stage_seconds["transform"] += time.thread_time() - began - exploding
        places = group.events.part(start, stop)
        # A part of a group shares buffers with the rest of it, of which it would be told to hold everything.
        size = made.rows.get_total_buffer_size() if len(places.offsets) == len(group.lengths) else made.rows.nbytes
        chunk = chunks.Chunk(range=group.stretch(start, stop), rows=made.rows, events=places, born=born, bytes=size)
        return Prepared(chunk=chunk, failures=made.failures, counts=_by_block(places, chunk, made))


def _by_block(places: chunks.Events, chunk: chunks.Chunk, made: spec.Transformed) -> dict[int, RunCounts]:
    if not len(places.offsets):
        return {}
    offsets, starts = np.unique(places.block_offsets, return_index=True)
    rows = np.bincount(chunk.row_events, minlength=len(places.offsets))
    failed = np.bincount([failure.event for failure in made.failures], minlength=len(places.offsets))
    sums = [
        np.add.reduceat(column.astype(np.int64), starts)
        for column in (np.ones(len(rows)), (rows + failed) == 0, made.made, made.filtered, made.other_lanes, rows, failed)
    ]
    names = [field.name for field in dataclasses.fields(RunCounts)]
    return {
        int(offset): RunCounts(**dict(zip(names, (int(column[at]) for column in sums), strict=True)))
        for at, offset in enumerate(offsets)
    }


def _with_columns(batch: pa.RecordBatch, told: state_spec.StateSpec, found: Sequence[pa.Array]) -> pa.RecordBatch:
    fields = [*batch.schema, *(value.column.with_name(value.hidden) for value in told.values)]
    return pa.RecordBatch.from_arrays([*batch.columns, *found], schema=pa.schema(fields))


def _block_schema(declared: schema.Schema) -> pa.Schema:
    """The columns a block of this schema has, hidden ones included."""
    hidden = [pa.field(blocks.ORIGINAL, pa.binary()), pa.field(blocks.RECEIVED_AT, pa.timestamp("us", tz="UTC"))]
    declared_names = schema.arrow_schema(declared)
    return pa.schema([*declared_names, *hidden, *schema.added_fields(declared)])
