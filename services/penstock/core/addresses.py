"""Where an event or a row stands in the log, and stretches of the log.

An event's address is (log id, partition, offset of its block, ordinal in the block before any filtering); a row's adds the
item of the exploded array. The log id is part of every landed range and dead-letter id because offsets start again when a
log is recreated. Ranges are half-open and, inside one partition, ordered by `Position`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in one partition. The end of the block at offset o is written as the start of offset o + 1."""

    offset: int
    ordinal: int = 0
    item: int = 0


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Address:
    """One event (item 0 where nothing was exploded) or one row of it."""

    log_id: str
    partition: int
    position: Position

    def __str__(self) -> str:
        place = self.position
        return f"{self.log_id}/{self.partition}/{place.offset}/{place.ordinal}/{place.item}"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Range:
    """The half-open stretch [start, end) of one partition of one log; never empty."""

    log_id: str
    partition: int
    start: Position
    end: Position

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError(f"an empty range: {self.start} .. {self.end}")

    @property
    def lane_key(self) -> tuple[str, int]:
        """What ranges must have in common to be compared."""
        return self.log_id, self.partition

    def contains(self, position: Position) -> bool:
        return self.start <= position < self.end

    def intersect(self, other: Range) -> Range | None:
        """The common part, or None."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        if self.lane_key != other.lane_key or start >= end:
            return None
        return Range(self.log_id, self.partition, start, end)


def merge(ranges: Iterable[Range]) -> list[Range]:
    """The same places in the fewest ranges, sorted; overlapping and touching ones become one."""
    merged: list[Range] = []
    for item in sorted(ranges):
        last = merged[-1] if merged else None
        if last and last.lane_key == item.lane_key and item.start <= last.end:
            merged[-1] = Range(last.log_id, last.partition, last.start, max(last.end, item.end))
        else:
            merged.append(item)
    return merged


def intersect(wanted: Iterable[Range], landed: Iterable[Range]) -> list[Range]:
    """What of `wanted` is in `landed` already, merged."""
    known = merge(landed)
    return merge(common for want in wanted for have in known if (common := want.intersect(have)))


def subtract(wanted: Iterable[Range], landed: Iterable[Range]) -> list[Range]:
    """What of `wanted` is not in `landed`, merged."""
    known = merge(landed)
    return [rest for want in merge(wanted) for rest in _without(want, known)]


def _without(want: Range, landed: Sequence[Range]) -> Iterator[Range]:
    start = want.start
    for have in landed:
        common = want.intersect(have)
        if common is None:
            continue
        if start < common.start:
            yield Range(want.log_id, want.partition, start, common.start)
        start = max(start, common.end)
    if start < want.end:
        yield Range(want.log_id, want.partition, start, want.end)
