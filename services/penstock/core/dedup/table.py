"""The table that judges: generations by time, the newest looked up first, and the append times of blocks beside them."""

from __future__ import annotations

import collections
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from penstock.core.dedup import generation

# A generation closes when it is full and holds at least this share of the window (by events or by time), so it ends with
# between one and two of them; a thin or a repetitive stream never fills it, hence the second bound.
_FULL_SHARE = 8
_THIN_SHARE = 2
# Working on slices keeps the intermediate arrays in the second-level cache.
_SLICE_EVENTS = 16_384
# A generation counts distances in 32 bits.
_MOST_EVENTS = 2**31
# A tuple of two integers in a deque.
_BLOCK_BYTES = 128


class DedupTable:
    """One lane's memory of one partition: which keys stood there within the window.

    Feed each block once, in offset order, also those whose verdicts are not wanted: to rebuild after an assignment or to go
    back, make a new table and judge the blocks that `rebuild_blocks` counts, key columns only, ignoring the verdicts.
    `head` is the number of events judged; `evicted` counts keys forgotten because they left the window.
    """

    def __init__(self, *, window_microseconds: int, max_events: int) -> None:
        """A duplicate stands at most `max_events` events and `window_microseconds` of append time behind. Raises ValueError."""
        if window_microseconds < 0:
            raise ValueError(f"deduplicate.windowSeconds: {window_microseconds / 1e6:g} is below 0")
        if not 1 <= max_events <= _MOST_EVENTS:
            raise ValueError(f"deduplicate.maxEventsPerPartition: {max_events} is not between 1 and {_MOST_EVENTS}")
        self._window = window_microseconds
        self._max_events = max_events
        self._generations: collections.deque[generation.Generation] = collections.deque()
        self._blocks: collections.deque[tuple[int, int]] = collections.deque()
        self.head = 0
        self.evicted = 0

    @property
    def remembered(self) -> int:
        """Keys in memory; one that came back in a later generation counts in both."""
        return sum(part.entries for part in self._generations)

    @property
    def memory_bytes(self) -> int:
        return sum(part.memory_bytes for part in self._generations) + _BLOCK_BYTES * len(self._blocks)

    def judge(self, append_time_microseconds: int, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """One verdict per event of the next block, True for duplicates; every event is remembered, also a duplicate.

        Raises ValueError when append time goes backwards (the log promises it does not) or for a hash of 0.
        """
        if self._blocks and append_time_microseconds < self._blocks[-1][1]:
            raise ValueError(f"append time {append_time_microseconds} after {self._blocks[-1][1]}: judge blocks in offset order")
        if not hashes.all():
            raise ValueError("0 is not a key's hash")
        verdicts = np.empty(len(hashes), np.bool_)
        for first in range(0, len(hashes), _SLICE_EVENTS):
            part = slice(first, first + _SLICE_EVENTS)
            verdicts[part] = self._judge_slice(append_time_microseconds, hashes[part])
        return verdicts

    def _judge_slice(self, now: int, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        oldest = self._forget(now)
        newest = self._room_for(now, len(hashes))
        last = newest.record(hashes)
        if len(self._generations) > 1:
            self._look_back(hashes, last)
        own = np.arange(self.head, self.head + len(hashes))
        self.head += len(hashes)
        return (last >= oldest) & (own - last <= self._max_events)

    def _forget(self, now: int) -> int:
        """Drop what no event from now on can be a duplicate of; the answer is the first position inside the time window."""
        if not self._blocks or self._blocks[-1][1] != now:
            self._blocks.append((self.head, now))
        while now - self._blocks[0][1] > self._window:
            self._blocks.popleft()
        oldest = self._blocks[0][0]
        reach = max(oldest, self.head - self._max_events)
        while self._generations and self._generations[0].end <= reach:
            self.evicted += self._generations.popleft().entries
        return oldest

    def _room_for(self, now: int, events: int) -> generation.Generation:
        """The open generation, with room for so many keys."""
        if self._generations and self._is_complete(self._generations[-1], now, events):
            self._generations[-1].close()
            self._open(now, self._generations[-1].capacity // 2)
        elif not self._generations:
            self._open(now, generation.SMALLEST_CAPACITY)
        newest = self._generations[-1]
        while not newest.has_room(events):
            newest.grow()
        return newest

    def _open(self, now: int, capacity: int) -> None:
        capacity = max(capacity, generation.SMALLEST_CAPACITY)
        self._generations.append(generation.Generation(base=self.head, first_time=now, capacity=capacity))

    def _is_complete(self, newest: generation.Generation, now: int, events: int) -> bool:
        share = _THIN_SHARE if newest.has_room(events) else _FULL_SHARE
        return (now - newest.first_time) * share > self._window or (newest.end - newest.base) * share > self._max_events

    def _look_back(self, hashes: npt.NDArray[np.uint64], last: npt.NDArray[np.int64]) -> None:
        """Fill in from the closed generations what the open one does not know; the newest that knows a key is right."""
        bits = generation.bloom_bits(hashes)
        for part in list(self._generations)[-2::-1]:
            rows = np.flatnonzero(part.may_hold(hashes, bits) & (last < 0))
            if len(rows):
                last[rows] = part.find(hashes[rows])


def rebuild_blocks(newest_first: Iterable[tuple[int, int]], *, window_microseconds: int, max_events: int) -> int:
    """How many of the blocks below a position a new table must judge before it is asked about that position.

    `newest_first` gives (append time in microseconds, readable events) of the blocks below the position, newest first, down
    to the lane's start; skipped and re-sent blocks are not among them. Only as many are read from it as are needed, plus one.
    """
    events = count = 0
    newest = None
    for append_time, rows in newest_first:
        newest = append_time if newest is None else newest
        if events >= max_events or newest - append_time > window_microseconds:
            break
        events += rows
        count += 1
    return count
