"""One open batch per partition, for stores whose batches are planned: a plan stands in one partition's offset.

Has the face of `builder.Builder`, so that what dispatches need not know which it has. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from penstock.core.batching import builder, chunks, model


class Builders:
    """`made` makes an empty builder; `may_go` says whether a partition has room for one more batch."""

    def __init__(self, made: Callable[[], builder.Builder], may_go: Callable[[int], bool]) -> None:
        self._made, self._may_go = made, may_go
        self._first = made()
        self._builders: dict[int, builder.Builder] = {}
        self._held_back: set[int] = set()
        self._next: int | None = None

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self._builders.values())

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self._builders.values())

    @property
    def write_model(self) -> model.WriteModel:
        return self._first.write_model

    def apply(self, write_model: model.WriteModel) -> None:
        """See `Builder`."""
        for one in (self._first, *self._builders.values()):
            one.apply(write_model)

    def follow(self, limits: model.Limits, *, send_when_idle: bool) -> None:
        """See `Builder`."""
        for one in (self._first, *self._builders.values()):
            one.follow(limits, send_when_idle=send_when_idle)

    def add(self, chunk: chunks.Chunk) -> None:
        """See `Builder`."""
        partition = chunk.range.partition
        if partition not in self._builders:
            self._builders[partition] = self._made()
            self._builders[partition].apply(self.write_model)
        self._builders[partition].add(chunk)

    def due(self, now: float, *, level: float = 1.0, nothing_unread: bool = False) -> builder.Reason | float:
        """See `Builder`; of several that are due the oldest goes first. One without room waits for it and not for a time."""
        soonest, due = math.inf, dict[int, builder.Reason]()
        for partition, one in self._builders.items():
            found = one.due(now, level=level, nothing_unread=nothing_unread)
            if isinstance(found, builder.Reason):
                due[partition] = found
            else:
                soonest = min(soonest, found)
        return self._chosen(due) or soonest

    def drains(self) -> builder.Reason | float:
        """See `Builder`."""
        return self._chosen({part: builder.Reason.DRAIN for part, one in self._builders.items() if one.rows}) or math.inf

    def _chosen(self, due: dict[int, builder.Reason]) -> builder.Reason | None:
        able = {partition for partition in due if self._may_go(partition)}
        self._held_back |= due.keys() - able
        if not able:
            return None
        self._next = min(able, key=lambda partition: self._builders[partition].born)
        return builder.Reason.PLAN_FULL if self._next in self._held_back else due[self._next]

    def take(self, reason: builder.Reason, *, level: float = 1.0) -> builder.Batch:
        """Of the partition that was found due last."""
        assert self._next is not None  # noqa: S101 - taken only after `due` has given a reason
        self._held_back.discard(self._next)
        return self._builders[self._next].take(reason, level=level)

    def drop(self, partition: int) -> None:
        """See `Builder`."""
        self._builders.pop(partition, None)
        self._held_back.discard(partition)
