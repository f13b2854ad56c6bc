"""What a lane must know of the log below its position: the deduplication table and the state of the keys, made again.

Both are functions of the log. The table is read back from the blocks of its window; the state goes on from its newest
snapshot, over the blocks between that and the position, whose duplicates are told as they were told then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import ParamSpec, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.batcher import settings as lane_settings
from penstock.batcher.reading import decoding
from penstock.core import blocks, dedup, skips
from penstock.core.state import snapshot, spec, table
from penstock.log import port

_HEADER_PAGE = 256
_READ_BYTES = 16 * 1024 * 1024


P = ParamSpec("P")
R = TypeVar("R")


class OnWorker(Protocol):
    """Runs a call on the lane's worker thread."""

    def __call__(self, call: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> Awaitable[R]: ...


class StateLostError(Exception):
    """The state of the lane's keys can't be made again: its offset was set back, or the log has been trimmed meanwhile."""


class Sequences:
    """Tells re-sent blocks, which stand in the log twice and count once, as a lane told them when it read them."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        self._next: int | None = None

    def is_resent(self, record: port.Record) -> bool:
        """Asked once per record, in offset order. Behind a stretch that was skipped a lane knows no producers any more."""
        if self._next != record.offset:
            self._last.clear()
        self._next = record.end
        if not record.producer:
            return False
        last = self._last.get(record.producer)
        if last is not None and record.sequence <= last:
            return True
        self._last[record.producer] = record.sequence
        return False


async def window_start(
    log: port.EventLog,
    told: lane_settings.Deduplicate,
    partition: int,
    offset: int,
    lane_start: int,
    skipped: skips.Skips = (),
) -> int:
    """The first offset that can matter for an event at `offset`: enough events back, or old enough, or the lane's start.

    Of the oldest page that was read nothing is counted yet: what looks like a block may be the re-send of an older one.
    """
    below: list[port.Record] = []
    counted: list[port.Record] = []
    events, needed, before, far = 0, 0, offset, False
    while needed == len(counted) and before > lane_start:
        # Looking for re-sends takes all of them: only once there may be enough above this page.
        far = far or events >= told.max_events or _span_microseconds(below) > told.window_microseconds
        known = before
        page = await log.headers(port.EVENTS, partition, before, limit=_HEADER_PAGE)
        fresh = [record for record in page if record.offset >= lane_start and skips.end_of(skipped, record.offset) is None]
        below += fresh
        before = page[-1].offset if page else lane_start
        if before > lane_start and not far:
            events += sum(_events(record) for record in fresh)
            continue
        seen = Sequences()
        originals = [record for record in reversed(below) if not seen.is_resent(record)][::-1]
        counted = [record for record in originals if record.offset >= known or before <= lane_start]
        needed = dedup.rebuild_blocks(
            ((record.append_time_microseconds, _events(record)) for record in counted),
            window_microseconds=told.window_microseconds,
            max_events=told.max_events,
        )
    return counted[needed - 1].offset if needed else offset


def _events(record: port.Record) -> int:
    return blocks.read_header(record.headers).rows


def _span_microseconds(newest_first: Sequence[port.Record]) -> int:
    return newest_first[0].append_time_microseconds - newest_first[-1].append_time_microseconds if newest_first else 0


async def walk(
    log: port.EventLog, partition: int, start: int, end: int, skipped: skips.Skips = ()
) -> AsyncIterator[Sequence[port.Record]]:
    """The records of [start, end) but the skipped ones, some at a time. Raises OffsetOutOfRangeError where they are gone."""
    while start < end:
        if (beyond := skips.end_of(skipped, start)) is not None:
            start = beyond
            continue
        until = min(end, skips.next_start(skipped, start) or end)
        records = await log.read(port.EVENTS, partition, start, max_bytes=_READ_BYTES)
        wanted = [record for record in records if record.offset < until]
        if not wanted:
            return
        yield wanted
        start = wanted[-1].end


class Memory:
    """Deduplication table and key state of one partition while it is made again. Not thread-safe.

    `events` and `blocks` count what the state was told.
    """

    def __init__(
        self,
        declared: pa.Schema,
        judging: lane_settings.Deduplicate | None,
        keyed: table.StateTable | None,
        decoder: decoding.Decoder,
    ) -> None:
        self._declared, self.judging, self.keyed, self._decoder = declared, judging, keyed, decoder
        self.events = self.blocks = 0
        self._sequences = Sequences()
        self.dedup = (
            dedup.DedupTable(window_microseconds=judging.window_microseconds, max_events=judging.max_events) if judging else None
        )

    def pass_by(self, records: Sequence[port.Record]) -> None:
        """Blocks that matter for nothing but to know their re-sends."""
        for record in records:
            self._sequences.is_resent(record)

    def judge(self, records: Sequence[port.Record]) -> None:
        """Blocks that matter for the verdicts on later ones only."""
        for record in records:
            if not self._sequences.is_resent(record):
                self._judge(record)

    def see(self, records: Sequence[port.Record]) -> list[pa.Array]:
        """Blocks the state hasn't seen yet; what the events of the last of them found."""
        found: list[pa.Array] = []
        for record in records:
            if self._sequences.is_resent(record):
                continue
            duplicate = self._judge(record)
            if self.keyed is not None:
                fields = self.keyed.spec.fields
                batch = self._conformed(self._decoder.decode(record, fields).batch, fields)
                counted = np.ones(batch.num_rows, bool) if duplicate is None else ~duplicate
                found = self.keyed.see(batch, counted)
                self.events, self.blocks = self.events + batch.num_rows, self.blocks + 1
        return found

    def _judge(self, record: port.Record) -> npt.NDArray[np.bool_] | None:
        if self.dedup is None or self.judging is None:
            return None
        found = self._decoder.decode(record, self.judging.key)
        hashes = dedup.hash_keys(self._conformed(found.batch, self.judging.key).columns)
        verdicts = [self.dedup.judge(time, hashes[part]) for time, part in found.stretches(record.append_time_microseconds)]
        return np.concatenate(verdicts)

    def _conformed(self, batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
        """A field of a former key may be declared no longer: it is read as it was written."""
        known = set(self._declared.names)
        fields = [self._declared.field(name) if name in known else batch.schema.field(name) for name in names]
        return blocks.conform(batch, pa.schema(fields))


def key_types(told: spec.StateSpec, declared: pa.Schema) -> tuple[str, ...]:
    """The types of the key's fields, by name."""
    return tuple(str(declared.field(name).type) for name in told.key)


def as_judging(told: lane_settings.Deduplicate | None) -> snapshot.Judging | None:
    """How duplicates are told, as a snapshot keeps it."""
    if told is None:
        return None
    return snapshot.Judging(key=told.key, window_microseconds=told.window_microseconds, max_events=told.max_events)


def from_judging(kept: snapshot.Judging | None) -> lane_settings.Deduplicate | None:
    """The inverse."""
    if kept is None:
        return None
    return lane_settings.Deduplicate(key=kept.key, window_microseconds=kept.window_microseconds, max_events=kept.max_events)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """`anew`: what is remembered now differs from every snapshot, and must be written down before anything is read."""

    memory: Memory
    anew: bool


class Recaller:
    """Makes the memory of one lane again. `on_worker` runs a call on the thread that may take long."""

    def __init__(
        self, settings: lane_settings.LaneSettings, log: port.EventLog, declared: pa.Schema, on_worker: OnWorker
    ) -> None:
        self._settings, self._log, self._declared, self._on_worker = settings, log, declared, on_worker
        self._decoder = decoding.for_lane(settings)

    async def at(self, partition: int, offset: int, lane_start: int, skipped: skips.Skips = ()) -> Recalled:
        """What a lane that has finished everything below `offset` must know.

        Raises StateLostError, SnapshotError, OffsetOutOfRangeError, BlockError.
        """
        told, judging = self._settings.transform.state, self._settings.deduplicate
        found = await self._snapshot(partition, offset, lane_start) if told else None
        if told is None or found is None:
            memory = Memory(self._declared, judging, table.StateTable(told) if told else None, self._decoder)
            await self._warm(memory, partition, offset, lane_start, skipped)
            return Recalled(memory=memory, anew=told is not None)
        start, kept = found
        keyed = await self._on_worker(kept.table, told)
        memory = Memory(self._declared, from_judging(kept.judging), keyed, self._decoder)
        await self._forward(memory, partition, (start, offset), lane_start, skipped)
        same = kept.equals(told) and keyed.spec.values == told.values
        keyed.change(told)
        if memory.judging == judging:
            return Recalled(memory=memory, anew=not same)
        # The verdicts from here on are told in another way than those that the state was made with.
        memory = Memory(self._declared, judging, keyed, self._decoder)
        await self._warm(memory, partition, offset, lane_start, skipped)
        return Recalled(memory=memory, anew=True)

    async def _snapshot(self, partition: int, offset: int, lane_start: int) -> tuple[int, snapshot.Decoded] | None:
        """The newest that can be gone on from; None where the state of this key begins now."""
        told, group = self._settings.transform.state, self._settings.lane
        assert told is not None  # noqa: S101 - asked only with state
        found = await self._log.load_snapshot(port.EVENTS, group, partition, offset)
        if found is None:
            if ahead := await self._log.snapshot_offsets(port.EVENTS, group, partition):
                raise StateLostError(
                    f"partition {partition}: the lane goes on at offset {offset}, and the oldest state of its keys that is kept"
                    f" is of offset {ahead[-1]}"
                )
            return None
        kept = await self._on_worker(snapshot.Decoded, found.content)
        goes_on = found.offset >= lane_start and kept.is_of(told, key_types(told, self._declared))
        return (found.offset, kept) if goes_on else None

    async def _forward(
        self, memory: Memory, partition: int, stretch: tuple[int, int], lane_start: int, skipped: skips.Skips
    ) -> None:
        start, end = stretch
        await self._warm(memory, partition, start, lane_start, skipped)
        if memory.judging is None:
            await self._pass_by(memory, partition, start, lane_start, skipped)
        try:
            async for records in walk(self._log, partition, start, end, skipped):
                await self._on_worker(memory.see, records)
        except port.OffsetOutOfRangeError as error:
            raise StateLostError(
                f"partition {partition}: the state of the keys is kept of offset {start}, and events up to {end} that belong to"
                f" it have left the log ({error})"
            ) from error

    async def _warm(self, memory: Memory, partition: int, offset: int, lane_start: int, skipped: skips.Skips) -> None:
        if memory.judging is None:
            return
        start = await window_start(self._log, memory.judging, partition, offset, lane_start, skipped)
        await self._pass_by(memory, partition, start, lane_start, skipped)
        async for records in walk(self._log, partition, start, offset, skipped):
            await self._on_worker(memory.judge, records)

    async def _pass_by(self, memory: Memory, partition: int, offset: int, lane_start: int, skipped: skips.Skips) -> None:
        """The blocks just before `offset`: what follows may be a re-send of one of them."""
        if offset > lane_start:
            page = await self._log.headers(port.EVENTS, partition, offset, limit=_HEADER_PAGE)
            memory.pass_by([at for at in page[::-1] if at.offset >= lane_start and skips.end_of(skipped, at.offset) is None])
