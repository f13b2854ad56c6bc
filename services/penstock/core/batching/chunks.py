"""Rows on their way into a batch, with enough of their origin to cut them anywhere.

A chunk is what one transform call made of a stretch of one partition: rows in address order and, per event that was
transformed, the block it stands in and its ordinal there. Slicing a chunk slices the rows and the range together, so a
batch's ranges always say exactly which part of the log its rows came from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.core import addresses, delivery
from penstock.core.transform import spec

Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Where the transformed events of one group stand: parallel arrays, ascending by (offset, ordinal)."""

    offsets: Index
    ordinals: Index
    origins: pa.Table | None = None
    """Of replayed events: where they stood when they failed, as delivery.ADDRESS_COLUMNS without the item."""
    blocks: Index | None = None
    """Offset of the block each event was read in; None where that is its own offset."""

    @property
    def block_offsets(self) -> Index:
        """By which the books know what an event was read in."""
        return self.offsets if self.blocks is None else self.blocks

    def part(self, start: int, stop: int) -> Events:
        """Events `start` up to `stop`."""
        return Events(
            offsets=self.offsets[start:stop],
            ordinals=self.ordinals[start:stop],
            origins=None if self.origins is None else self.origins.slice(start, stop - start),
            blocks=None if self.blocks is None else self.blocks[start:stop],
        )

    def position(self, event: int) -> addresses.Position:
        return addresses.Position(int(self.offsets[event]), int(self.ordinals[event]))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Rows made from `range`, in address order, with the hidden columns of the transform still in them."""

    range: addresses.Range
    rows: pa.Table
    events: Events
    born: float
    """Monotonic seconds at which the oldest block of the chunk was appended."""
    bytes: int
    """What the rows hold in memory; asking Arrow costs 20 µs, so it is counted once and a part has its share by rows."""

    @property
    def row_events(self) -> npt.NDArray[np.int32]:
        """The event of each row, as an index into `events`; ascending."""
        return _integers(self.rows, spec.EVENT_COLUMN)

    @property
    def row_offsets(self) -> Index:
        """The offset of each row's event."""
        return self.events.offsets[self.row_events]

    @property
    def row_blocks(self) -> Index:
        """The offset of the block of each row."""
        return self.events.block_offsets[self.row_events]

    def cut(self, rows: int) -> tuple[Chunk, Chunk | None]:
        """The largest head of whole events with at most `rows` rows; and what remains.

        An event that alone has more is split by its items: only there does a range end inside an event. Never called with 0
        rows in the chunk.
        """
        if rows >= self.rows.num_rows:
            return self, None
        events = self.row_events
        first_out = int(events[rows])
        at = int(np.searchsorted(events, first_out, side="left"))
        return self.split(at or rows)

    def split(self, at: int) -> tuple[Chunk, Chunk]:
        """The first `at` rows and the rest, each with its part of the range; 0 < at < rows."""
        stretch, place = self.range, self._start_of(at)
        head = addresses.Range(stretch.log_id, stretch.partition, stretch.start, place)
        tail = addresses.Range(stretch.log_id, stretch.partition, place, stretch.end)
        share = self.bytes * at // self.rows.num_rows
        return (
            dataclasses.replace(self, range=head, rows=self.rows.slice(0, at), bytes=share),
            dataclasses.replace(self, range=tail, rows=self.rows.slice(at), bytes=self.bytes - share),
        )

    def apart(self, place: addresses.Position) -> tuple[Chunk | None, Chunk | None]:
        """What stands before `place`, and the rest; None where no row does."""
        before = int(np.count_nonzero(~_not_before(self._row_places(), place)))
        stretch = self.range
        lower = dataclasses.replace(stretch, end=min(place, stretch.end)) if before else None
        upper = dataclasses.replace(stretch, start=max(place, stretch.start)) if before < self.rows.num_rows else None
        share = self.bytes * before // self.rows.num_rows
        rows, rest = self.rows.slice(0, before), self.rows.slice(before)
        return (
            dataclasses.replace(self, range=lower, rows=rows, bytes=share) if lower else None,
            dataclasses.replace(self, range=upper, rows=rest, bytes=self.bytes - share) if upper else None,
        )

    def _row_places(self) -> tuple[Index, Index, npt.NDArray[np.int32]]:
        return self.row_offsets, self.events.ordinals[self.row_events], _integers(self.rows, spec.ITEM_COLUMN)

    def _start_of(self, row: int) -> addresses.Position:
        """Where the part of the log begins that `row` and its successors answer for: an event's first row takes all of it."""
        events = self.row_events
        if events[row - 1] != events[row]:
            return self.events.position(int(events[row]))
        return self.places([row])[0]

    def where(self, mask: Mask) -> Chunk:
        """The rows `mask` says; the range stays, because the chunk still answers for all of it."""
        rows = self.rows.filter(pa.array(mask))
        return dataclasses.replace(self, rows=rows, bytes=self.bytes * rows.num_rows // max(1, self.rows.num_rows))

    def inside(self, stretches: Iterable[addresses.Range]) -> Chunk:
        """The rows that stand in one of the ranges."""
        return self.where(self._standing_in(stretches))

    def outside(self, stretches: Iterable[addresses.Range]) -> Chunk:
        """The rows that stand in none of the ranges."""
        return self.where(~self._standing_in(stretches))

    def _standing_in(self, stretches: Iterable[addresses.Range]) -> Mask:
        found = np.zeros(self.rows.num_rows, dtype=bool)
        places = self._row_places()
        for stretch in stretches:
            if stretch.lane_key == self.range.lane_key:
                found |= _not_before(places, stretch.start) & ~_not_before(places, stretch.end)
        return found

    def places(self, rows: Sequence[int]) -> list[addresses.Position]:
        """The addresses of single rows, by index."""
        events, items = self.row_events, _integers(self.rows, spec.ITEM_COLUMN)
        return [dataclasses.replace(self.events.position(int(events[row])), item=int(items[row])) for row in rows]

    def row_addresses(self) -> pa.Table:
        """Where each row came from, as delivery.ADDRESS_COLUMNS; a replayed one came from where it stood at first."""
        offsets, ordinals, items = self._row_places()
        if self.events.origins is not None:
            return self.events.origins.take(pa.array(self.row_events)).append_column(delivery.ITEM_COLUMN, pa.array(items))
        log = pa.repeat(pa.scalar(self.range.log_id), len(offsets))
        partitions = np.full(len(offsets), self.range.partition, dtype=np.int32)
        columns = [log, *map(pa.array, (partitions, offsets, ordinals.astype(np.int32), items))]
        return pa.table(columns, names=list(delivery.ADDRESS_COLUMNS))

    def at(self, places: set[addresses.Position]) -> Mask:
        """Which rows stand at one of these addresses. Row by row: meant for the few that a crash left in doubt."""
        return np.array([place in places for place in self.places(range(self.rows.num_rows))], dtype=bool)

    def rows_by_block(self) -> dict[int, int]:
        """Row counts by block offset."""
        offsets, counts = np.unique(self.row_blocks, return_counts=True)
        return dict(zip(offsets.tolist(), counts.tolist(), strict=True))


def _not_before(places: tuple[Index, Index, npt.NDArray[np.int32]], position: addresses.Position) -> Mask:
    """Which of the places stand at `position` or after it."""
    offsets, ordinals, items = places
    same_block = offsets == position.offset
    same_event = same_block & (ordinals == position.ordinal)
    after = (offsets > position.offset) | (same_block & (ordinals > position.ordinal))
    return np.asarray(after | (same_event & (items >= position.item)))


def _integers(table: pa.Table, column: str) -> npt.NDArray[np.int32]:
    return np.asarray(table.column(column).to_numpy(), dtype=np.int32)
