"""Where did my event go: answered from the log and the dead letters, sampled or not.

The retained log is read newest first. What a lane did with an event follows from the log alone: the deduplication rule and
the transform are pure, and the offset a lane has committed says whether it is through.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.api import lower
from penstock.api.model import pipeline as api_pipeline
from penstock.batcher import settings as lane_settings
from penstock.batcher.reading import decoding, recall
from penstock.core import addresses, blocks, deadletters, dedup, dialects, ledger, markers, schema, skips
from penstock.core.records import layout
from penstock.core.state import spec as state_spec
from penstock.core.transform import spec, transform
from penstock.log import port
from penstock.machine import lanes, sourcing

P = ParamSpec("P")
R = TypeVar("R")

_HEADER_PAGE = 256
_RUN_BYTES = 4 << 20


class Fate(enum.Enum):
    """What became of an event in one lane. SETTLED: landed, filtered or dead-lettered; which, can't be told any more."""

    BEFORE_START = "BeforeStart"
    PENDING = "Pending"
    DUPLICATE = "Duplicate"
    FILTERED = "Filtered"
    DEAD_LETTER = "DeadLetter"
    LANDED = "Landed"
    SKIPPED = "Skipped"
    SETTLED = "Settled"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LaneFate:
    """`detail` says which event, letter or rows."""

    sink: str
    fate: Fate
    detail: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One event that matches, and its fate in each lane."""

    address: addresses.Address
    append_time_microseconds: int
    fates: Sequence[LaneFate]


class UnknownFieldError(ValueError):
    """A condition on something the schema does not have, or with a value the field can't take."""


def conditions(declared: schema.Schema, texts: Sequence[str]) -> dict[str, pa.Scalar]:
    """`FIELD=VALUE` texts as typed values. Raises UnknownFieldError."""
    fields = {field.name: field for field in schema.arrow_schema(declared)}
    found: dict[str, pa.Scalar] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or name not in fields:
            raise UnknownFieldError(f'"{text}": write FIELD=VALUE with one of the fields {", ".join(fields)}')
        try:
            found[name] = pa.scalar(value).cast(fields[name].type)
        except pa.ArrowException as error:
            raise UnknownFieldError(f'"{text}": {name} is {fields[name].type} and can\'t be "{value}"') from error
    return found


class Search:
    """One search over one log. `progress` is told how many blocks have been looked at."""

    def __init__(
        self, pipeline: api_pipeline.BatchPipeline, log: port.EventLog, progress: Callable[[int], None] = lambda _: None
    ) -> None:
        self._pipeline, self._log, self._progress = pipeline, log, progress
        self._lanes = [lanes.lane_for(pipeline, sink) for sink in pipeline.spec.sinks]
        self._declared = lower.event_schema(pipeline)
        self._arrow = pa.schema([*blocks.block_schema(self._declared), *schema.added_fields(self._declared)])
        self._decoder = decoding.for_lane(sourcing.reading(pipeline, log, self._lanes[0]))
        self._looked_at = 0

    async def sightings(self, wanted: Mapping[str, pa.Scalar]) -> AsyncIterator[Sighting]:
        """Events that match all conditions, newest first within each partition."""
        for partition in self._partitions(wanted):
            async for record in self._newest_first(partition, (await self._log.bounds(port.EVENTS, partition)).end):
                batch = self._decode(record, list(wanted))
                for ordinal in reversed(_matching(batch, wanted).tolist()):
                    yield await self._sighting(record, ordinal)

    def _partitions(self, wanted: Mapping[str, pa.Scalar]) -> Sequence[int]:
        """The one partition that equal keys share, where the conditions give the whole key."""
        key = lower.partition_key(self._pipeline)
        if not key or not set(key) <= set(wanted):
            return range(self._log.partitions)
        hashed = dedup.hash_keys([pa.array([wanted[name]], self._arrow.field(name).type) for name in key])
        return [int(hashed[0] % np.uint64(self._log.partitions))]

    async def _newest_first(self, partition: int, before: int) -> AsyncIterator[port.Record]:
        while page := await self._log.headers(port.EVENTS, partition, before, limit=_HEADER_PAGE):
            for header in page:
                self._looked_at += 1
                self._progress(self._looked_at)
                # What is damaged can't be searched; the lanes that meet it say so.
                with contextlib.suppress(port.DamagedLogError):
                    yield await self._whole(partition, header)
            before = page[-1].offset

    async def _whole(self, partition: int, header: port.Record) -> port.Record:
        """The record, of a run exactly the part that its header speaks of: the next read may go further."""
        most = header.span if header.span == 1 else _RUN_BYTES
        found = (await self._log.read(port.EVENTS, partition, header.offset, max_bytes=most))[0]
        if found.rows is None:
            return found
        return dataclasses.replace(found, rows=layout.until(found.rows, header.end), span=header.span)

    def _decode(self, record: port.Record, columns: Sequence[str]) -> pa.RecordBatch:
        batch = self._decoder.decode(record, columns).batch
        return blocks.conform(batch, pa.schema([self._arrow.field(name) for name in columns]))

    def _place(self, record: port.Record, ordinal: int) -> addresses.Position:
        offsets = self._decoder.decode(record, ()).offsets if record.rows is not None else None
        return addresses.Position(record.offset, ordinal) if offsets is None else addresses.Position(int(offsets[ordinal]))

    async def _sighting(self, record: port.Record, ordinal: int) -> Sighting:
        place = self._place(record, ordinal)
        return Sighting(
            address=addresses.Address(self._log.log_id, record.partition, place),
            append_time_microseconds=record.append_time_microseconds,
            fates=[await self._fate(lane, record, ordinal, place) for lane in self._lanes],
        )

    async def _fate(
        self, lane: lane_settings.LaneSettings, record: port.Record, ordinal: int, place: addresses.Position
    ) -> LaneFate:
        commit = (await self._log.committed(port.EVENTS, lane.lane)).get(record.partition)
        if commit is None or place.offset >= commit.offset:
            return LaneFate(sink=lane.sink, fate=Fate.PENDING, detail="unread or on its way")
        remembered = ledger.from_metadata(commit.metadata)
        if skips.end_of(remembered.skipped, place.offset) is not None:
            return LaneFate(sink=lane.sink, fate=Fate.SKIPPED, detail="left out with penstock skip, and counted as lost")
        if place.offset < remembered.start_offset:
            return LaneFate(sink=lane.sink, fate=Fate.BEFORE_START, detail="the lane began after it")
        if (original := await self._duplicate_of(lane, record, ordinal, remembered.skipped)) is not None:
            return LaneFate(sink=lane.sink, fate=Fate.DUPLICATE, detail=f"of {original}")
        letters = await self._letters(lane, record, place)
        made = await self._rows(lane, record, ordinal, ledger.from_metadata(commit.metadata))
        if made is None:
            known = f"; {_named(letters)}" if letters else ""
            return LaneFate(sink=lane.sink, fate=Fate.SETTLED, detail=f"its rows depend on a state of its key long gone{known}")
        rows = made - len(letters)
        if letters and rows <= 0:
            return LaneFate(sink=lane.sink, fate=Fate.DEAD_LETTER, detail=_named(letters))
        if rows <= 0:
            return LaneFate(sink=lane.sink, fate=Fate.FILTERED, detail="it makes no row for this sink")
        beside = f"; {_named(letters)}" if letters else ""
        return LaneFate(sink=lane.sink, fate=Fate.LANDED, detail=f"{rows} row{'s' if rows > 1 else ''}{beside}")

    async def _duplicate_of(
        self, lane: lane_settings.LaneSettings, record: port.Record, ordinal: int, skipped: skips.Skips
    ) -> addresses.Address | None:
        """The nearest earlier event with the same key inside the window, which is what makes a duplicate."""
        told, between = lane.deduplicate, 0
        if told is None:
            return None
        own = dedup.hash_keys(list(self._decode(record, told.key).columns))[ordinal]
        own_place = self._place(record, ordinal)
        before = own_place.offset + (record.rows is None)
        async for earlier in self._newest_first(record.partition, before):
            if skips.end_of(skipped, earlier.offset) is not None:
                continue
            hashes = dedup.hash_keys(list(self._decode(earlier, told.key).columns))
            hashes = hashes[:ordinal] if earlier.offset == record.offset and record.rows is None else hashes
            same = np.flatnonzero(hashes == own)
            if _age(record, earlier) > told.window_microseconds:
                return None
            if len(same):
                place = self._place(earlier, int(same[-1]))
                near = between + len(hashes) - int(same[-1]) <= told.max_events
                return addresses.Address(self._log.log_id, record.partition, place) if near else None
            between += len(hashes)
            if between >= told.max_events:
                return None
        return None

    async def _letters(
        self, lane: lane_settings.LaneSettings, record: port.Record, place: addresses.Position
    ) -> list[deadletters.DeadLetter]:
        """This lane's letters for the event. They were written after its block, so the search ends there."""
        found: list[deadletters.DeadLetter] = []
        before = (await self._log.bounds(port.DEAD_LETTERS, record.partition)).end
        while page := await self._log.headers(port.DEAD_LETTERS, record.partition, before, limit=_HEADER_PAGE):
            for header in page:
                if header.append_time_microseconds < record.append_time_microseconds:
                    return deadletters.collapse(found)
                if markers.is_marker(header.headers):
                    continue
                try:
                    letter = dialects.decode(b"", header.headers)
                except deadletters.DeadLetterError:
                    continue
                if (letter.lane, letter.offset, letter.ordinal) == (lane.lane, place.offset, place.ordinal):
                    found.append(letter)
            before = page[-1].offset
        return deadletters.collapse(found)

    async def _rows(
        self, lane: lane_settings.LaneSettings, record: port.Record, ordinal: int, committed: ledger.LaneMetadata
    ) -> int | None:
        """Rows the event makes for this lane, refused ones included. None where its key's state can't be made again."""
        compiled = transform.Transform(
            lane.transform,
            memory_limit_bytes=lane.transform_memory_bytes,
            time_limit_seconds=lane.transform_seconds,
            made_limit_bytes=lane.row_bytes,
        )
        plain = [name for name in compiled.input_columns if not state_spec.is_hidden(name)]
        try:
            block = pa.Table.from_batches([self._decode(record, plain)])
            if len(plain) < len(compiled.input_columns):
                found = await self._state(lane, record, committed)
                if found is None:
                    return None
                for name, column in found.items():
                    block = block.append_column(name, column)
            numbered = block.slice(ordinal, 1).append_column(spec.EVENT_COLUMN, pa.array([0], pa.int32()))
            made = compiled.run(numbered)
        finally:
            compiled.close()
        return int(made.rows.num_rows) + len(made.failures)

    async def _state(
        self, lane: lane_settings.LaneSettings, record: port.Record, committed: ledger.LaneMetadata
    ) -> dict[str, pa.Array] | None:
        """What the events of a block find of their keys; None before the oldest snapshot, and where the log was trimmed."""
        recaller = recall.Recaller(lane, self._log, self._arrow, _here)
        try:
            recalled = await recaller.at(record.partition, record.offset, committed.start_offset, committed.skipped)
        except (recall.StateLostError, port.OffsetOutOfRangeError):
            return None
        if recalled.anew or recalled.memory.keyed is None:
            return None
        found = recalled.memory.see([record])
        return {value.hidden: column for value, column in zip(recalled.memory.keyed.spec.values, found, strict=True)}


async def _here(call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    return call(*arguments, **named)


def _matching(batch: pa.RecordBatch, wanted: Mapping[str, pa.Scalar]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    matches = np.ones(batch.num_rows, dtype=bool)
    for name, value in wanted.items():
        matches &= pc.fill_null(pc.equal(batch.column(name), value), False).to_numpy(zero_copy_only=False)
    return np.flatnonzero(matches)


def _age(record: port.Record, earlier: port.Record) -> int:
    return record.append_time_microseconds - earlier.append_time_microseconds


def _named(letters: Sequence[deadletters.DeadLetter]) -> str:
    return ", ".join(
        f"{letter.id[:12]} ({letter.category.value}: {letter.message.splitlines()[0][:80]})" for letter in letters[:3]
    )
