"""Which blocks of one partition are finished, and with that which offset may be committed.

Blocks start in offset order and finish in any order; an offset is only committed when every block below it is finished, so
a crash re-reads what was in flight and nothing else. The ledger adds a block's counts when `advance` names its offset.
"""

from __future__ import annotations

import collections


class Watermark:
    """The finished blocks of one partition, from `next_offset` (the first offset the lane will read) on.

    Offsets ascend but may have gaps. Every call is O(1) amortised; what is kept is bounded by the blocks in flight plus the
    finished ones that wait for an older block.
    """

    __slots__ = ("_end", "_passed", "_started", "_unfinished")

    def __init__(self, next_offset: int) -> None:
        self._end = next_offset
        # Every block above the watermark, in order, and those of them that are not finished.
        self._started: collections.deque[int] = collections.deque()
        self._unfinished: set[int] = set()
        self._passed: list[int] = []

    @property
    def position(self) -> int:
        """The offset to commit: the lowest unfinished one, else the one after the last that started.

        Commit it only with the counts of what `advance` has returned: call `advance` first, and do not yield in between.
        """
        return self._started[0] if self._started else self._end

    @property
    def unfinished(self) -> int:
        """Blocks that have started and not finished."""
        return len(self._unfinished)

    @property
    def next_offset(self) -> int:
        """The offset after the last that started."""
        return self._end

    def started(self, offset: int, span: int = 1) -> None:
        """The block at `offset` is being worked on, and takes up `span` offsets.

        Raises ValueError unless it lies above all that started before.
        """
        if offset < self._end:
            raise ValueError(f"offset {offset} starts but {self._end} is next: blocks start in offset order, once")
        self._end = offset + span
        self._started.append(offset)
        self._unfinished.add(offset)

    def skip(self, next_offset: int) -> None:
        """What stands below `next_offset` and has not started never will."""
        self._end = max(self._end, next_offset)

    def finished(self, offset: int) -> None:
        """Each event of the block has its outcome. Raises ValueError if it has not started or has finished before."""
        if offset not in self._unfinished:
            raise ValueError(f"offset {offset} finishes but is not in flight")
        self._unfinished.remove(offset)
        while self._started and self._started[0] not in self._unfinished:
            self._passed.append(self._started.popleft())

    def advance(self) -> list[int]:
        """Offsets that the watermark has passed since the last call, ascending."""
        passed, self._passed = self._passed, []
        return passed
