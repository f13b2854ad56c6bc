"""Open blocks and the ledger of one partition.

A block's counts come together while its rows travel; they join the ledger when the watermark passes the block, and the
ledger is committed with the offset. What is in flight is counted elsewhere (open batches), so that the equations of
`core.ledger` compare independent numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from penstock.batcher.guarding import suspects
from penstock.batcher.reading import prepare
from penstock.core import addresses, delivery, ledger, plans, watermark


@dataclasses.dataclass(slots=True)
class OpenBlock:
    """A block that is read but not finished: `events_open` await the transform, `rows_open` and `letters_open` a store."""

    append_time_microseconds: int
    producer: str
    sequence: int
    counts: ledger.Counts
    events_open: int
    rows_open: int = 0
    letters_open: int = 0

    @property
    def finished(self) -> bool:
        return not (self.events_open or self.rows_open or self.letters_open)


class PartitionAccounts:
    """Not thread-safe: used from the lane's event loop only."""

    def __init__(self, next_offset: int, metadata: ledger.LaneMetadata) -> None:
        self._watermark = watermark.Watermark(next_offset)
        self._open: dict[int, OpenBlock] = {}
        self._start = metadata.start_offset
        # What is committed may only know producers of finished blocks: an unfinished block is read again after a crash, and
        # must not look like a re-send then.
        self._finished_producers = dict(metadata.producers)
        self._read_producers = dict(metadata.producers)
        self.settled = metadata.counts
        self._skipped = metadata.skipped
        self.plans = plans.Book(metadata.plans)
        self._forget_at: int | None = None
        self.guard: suspects.Guard | None = None
        """Against a crash loop; replays have none."""

    @property
    def position(self) -> int:
        """Everything below this offset is finished: what a commit may say."""
        return self._watermark.position

    @property
    def open_blocks(self) -> int:
        return len(self._open)

    @property
    def events_untransformed(self) -> int:
        return sum(block.events_open for block in self._open.values())

    @property
    def oldest_append_microseconds(self) -> int | None:
        return next((block.append_time_microseconds for block in self._open.values()), None)

    def metadata(self) -> ledger.LaneMetadata:
        """What is committed with `position`."""
        self._forget_skipped(self.position)
        starts, suspect = self.guard.marks(self.position) if self.guard else (0, None)
        return ledger.LaneMetadata(
            counts=self.settled,
            producers=dict(self._finished_producers),
            starts=starts,
            start_offset=self._start,
            suspect=suspect,
            skipped=self._skipped,
            plans=self._plans_ahead(),
        )

    def _plans_ahead(self) -> str:
        self.plans.forget(addresses.Position(self.position))
        return self.plans.text()

    @property
    def read_to(self) -> int:
        """Everything below this offset was read."""
        return self._watermark.next_offset

    def appended_at(self, offset: int) -> int:
        """Append time of an open block in microseconds."""
        return self._open[offset].append_time_microseconds

    def skip(self, next_offset: int) -> None:
        """Go on at `next_offset`; what lies before it and was not started is lost, and was counted when a person said so.

        Producers are forgotten with it, else the blocks left out would count again as missing before those that follow.
        """
        self._watermark.skip(next_offset)
        self._read_producers.clear()
        self._forget_at = next_offset

    def _forget_skipped(self, position: int) -> None:
        if self._forget_at is not None and position >= self._forget_at:
            self._finished_producers.clear()
            self._forget_at = None

    def totals(self) -> ledger.Counts:
        """The ledger including what open blocks have come to so far."""
        total = self.settled
        for block in self._open.values():
            total = total + block.counts
        return total

    def is_resent(self, producer: str, sequence: int) -> bool:
        """Whether this block stood in the partition before. Asked once per block, in offset order."""
        last = self._read_producers.get(producer)
        return last is not None and sequence <= last and bool(producer)

    def resent(self, offset: int) -> None:
        """A re-sent block finishes at once and enters no other term."""
        self._watermark.started(offset)
        self.settled = self.settled + ledger.Counts(resent_blocks=1)
        self._finish(offset)

    def missing_before(self, producer: str, sequence: int) -> int:
        """Blocks of this producer that should stand before this one and do not; notes the block as read."""
        if not producer:
            return 0
        last = self._read_producers.pop(producer, None)
        self._read_producers[producer] = sequence
        return 0 if last is None else sequence - last - 1

    def started(self, verdict: prepare.BlockVerdict, *, lost: int) -> None:
        """A block was read and judged; `lost` blocks of its producer never came."""
        self._watermark.started(verdict.offset, verdict.span)
        self._open[verdict.offset] = OpenBlock(
            append_time_microseconds=verdict.append_time_microseconds,
            producer=verdict.producer,
            sequence=verdict.sequence,
            counts=ledger.Counts(
                read=verdict.events,
                duplicates=verdict.duplicates,
                dead_lettered_events=verdict.refused,
                lost=lost,
                # A record without a value would make one row, and that one is filtered.
                transformed=verdict.tombstones,
                without_rows=verdict.tombstones,
                made=verdict.tombstones,
                filtered=verdict.tombstones,
            ),
            events_open=verdict.transformed,
            letters_open=verdict.refused,
        )
        self._settle(verdict.offset)

    def transformed(self, counts: dict[int, prepare.RunCounts]) -> None:
        """One transform call has made rows of these blocks."""
        for offset, run in counts.items():
            block = self._open[offset]
            block.counts = block.counts + ledger.Counts(
                transformed=run.events,
                without_rows=run.without_rows,
                made=run.made,
                filtered=run.filtered,
                other_lanes=run.other_lanes,
            )
            block.events_open -= run.events
            block.rows_open += run.rows
            block.letters_open += run.failed
            self._settle(offset)

    def written(self, rows_by_block: Mapping[int, int]) -> None:
        """Rows are durable in the store, now or since before."""
        for offset, rows in rows_by_block.items():
            block = self._open[offset]
            block.counts = block.counts + ledger.Counts(written=rows)
            block.rows_open -= rows
            self._settle(offset)

    def rows_dead_lettered(self, offset: int, rows: int, *, refused_by_store: bool) -> None:
        """Letters for rows of this block are durable."""
        offset = self._block_of(offset)
        block = self._open[offset]
        block.counts = block.counts + ledger.Counts(dead_lettered_rows=rows)
        if refused_by_store:
            block.rows_open -= rows
        else:
            block.letters_open -= rows
        self._settle(offset)

    def events_dead_lettered(self, offset: int, events: int) -> None:
        """Letters for whole events of this block are durable; the events were counted when the block was read."""
        offset = self._block_of(offset)
        self._open[offset].letters_open -= events
        self._settle(offset)

    def _block_of(self, offset: int) -> int:
        """Of the open block that the event at `offset` was read in. Only those that fail are asked for one by one."""
        return offset if offset in self._open else max(start for start in self._open if start <= offset)

    def _settle(self, offset: int) -> None:
        if self._open[offset].finished:
            self._finish(offset)

    def _finish(self, offset: int) -> None:
        self._watermark.finished(offset)
        for passed in self._watermark.advance():
            self._forget_skipped(passed)
            block = self._open.pop(passed, None)
            if block is not None:
                self.settled = self.settled + block.counts
                if block.producer:
                    self._finished_producers.pop(block.producer, None)
                    self._finished_producers[block.producer] = block.sequence


class LaneAccounts:
    """All partitions of one lane: where outcomes of rows are reported, and where the ledger is read from."""

    def __init__(self, log_id: str) -> None:
        self._log_id = log_id
        self._partitions: dict[int, PartitionAccounts] = {}
        self._known: dict[int, set[addresses.Position]] = {}
        self._log_ends: dict[int, int | None] = {}
        self._inherited: dict[int, ledger.Counts] = {}
        self._released = ledger.Counts()

    def __getitem__(self, partition: int) -> PartitionAccounts:
        return self._partitions[partition]

    def get(self, partition: int) -> PartitionAccounts | None:
        """None for a partition that is somebody else's."""
        return self._partitions.get(partition)

    def open(
        self,
        partition: int,
        opened: PartitionAccounts,
        known_letters: set[addresses.Position],
        *,
        log_end: int | None = None,
    ) -> None:
        """A partition was assigned, which ended at `log_end` then; `known_letters` are rows that had one before that."""
        self._partitions[partition], self._known[partition] = opened, known_letters
        self._log_ends[partition] = log_end
        self._inherited[partition] = opened.settled

    def close(self, partition: int) -> None:
        """A partition was revoked: what is open there is read again, and counted, by its next owner."""
        part = self._partitions.pop(partition, None)
        self._known.pop(partition, None)
        if part:
            self._released = self._released + (part.settled - self._inherited.pop(partition))

    @property
    def assigned(self) -> list[int]:
        """The partitions that are this lane's now."""
        return list(self._partitions)

    def appended_at(self, partition: int, offset: int) -> int:
        """Append time of an open block in microseconds; 0 once its partition was revoked."""
        part = self._partitions.get(partition)
        return part.appended_at(offset) if part else 0

    def planned(self, partition: int) -> plans.Book | None:
        """What is planned of a partition; None once it was revoked."""
        part = self._partitions.get(partition)
        return part.plans if part else None

    def came_since(self, stretch: addresses.Range) -> addresses.Range | None:
        """The part of it that was appended after the partition was assigned."""
        end = self._log_ends.get(stretch.partition)
        if end is None or stretch.end <= addresses.Position(end):
            return None
        return dataclasses.replace(stretch, start=max(stretch.start, addresses.Position(end)))

    def written(self, partition: int, rows_by_block: Mapping[int, int]) -> None:
        """Rows are durable in the store. Late news of a revoked partition changes nothing."""
        if partition in self._partitions:
            self._partitions[partition].written(rows_by_block)

    def refused(self, partition: int, rows_by_block: Mapping[int, int]) -> None:
        """Rows the store refuses have durable letters."""
        for offset, rows in rows_by_block.items():
            if partition in self._partitions:
                self._partitions[partition].rows_dead_lettered(offset, rows, refused_by_store=True)

    def known_letters(self, partition: int) -> set[addresses.Position]:
        return self._known.get(partition, set())

    def finished_below(self) -> list[delivery.Watermark]:
        """What the sink may fold its journal below."""
        return [
            delivery.Watermark(log_id=self._log_id, partition=partition, position=addresses.Position(part.position))
            for partition, part in self._partitions.items()
        ]

    def commits(self) -> dict[int, tuple[int, ledger.LaneMetadata]]:
        """Offset and metadata to commit, by partition."""
        return {partition: (part.position, part.metadata()) for partition, part in self._partitions.items()}

    def stopping(self) -> None:
        """The process ends in good order: no block is suspected for it."""
        for part in self._partitions.values():
            if part.guard:
                part.guard.stop()

    @property
    def own(self) -> ledger.Counts:
        """What this process has counted, whichever partitions it had: added up over all processes, the lane's ledger."""
        gained = (part.totals() - self._inherited[number] for number, part in self._partitions.items())
        return sum(gained, self._released)

    def totals(self) -> ledger.Counts:
        """The ledger of the partitions that are here, from the lane's start on and with open blocks."""
        return sum((part.totals() for part in self._partitions.values()), ledger.Counts())

    @property
    def open_blocks(self) -> int:
        return sum(part.open_blocks for part in self._partitions.values())

    @property
    def events_in_flight(self) -> int:
        """Events read but not transformed yet."""
        return sum(part.events_untransformed for part in self._partitions.values())

    @property
    def oldest_append_microseconds(self) -> int | None:
        """Append time of the oldest unfinished block."""
        ages = [age for part in self._partitions.values() if (age := part.oldest_append_microseconds) is not None]
        return min(ages, default=None)
