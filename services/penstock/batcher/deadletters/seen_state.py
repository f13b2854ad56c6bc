"""What the events of unfinished blocks found of their keys, for the letters of those that fail: blocks do not hold it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from penstock.batcher.reading import prepare
from penstock.core import addresses
from penstock.core.batching import chunks
from penstock.core.state import letters, spec


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """Blocks from offset `first` to `last`: which events, and a column for each value."""

    first: int
    last: int
    events: chunks.Events
    table: pa.Table


class SeenState:
    """Of one lane. Holds nothing where there is no state; else a few columns of each block that is not finished."""

    def __init__(self, told: spec.StateSpec | None) -> None:
        self._told = told
        self._groups: dict[int, list[_Seen]] = {}

    def remember(self, group: prepare.Group, finished_below: int) -> None:
        """`finished_below`: the blocks of this partition that no letter will be about any more."""
        if self._told is None:
            return
        known = [one for one in self._groups.get(group.partition, []) if one.last >= finished_below]
        values = self._told.values
        table = group.table.select([value.hidden for value in values]).rename_columns([value.name for value in values])
        first, last = group.blocks[0].offset, group.blocks[-1].end - 1
        self._groups[group.partition] = [*known, _Seen(first=first, last=last, events=group.events, table=table)]

    def forget(self, partition: int) -> None:
        self._groups.pop(partition, None)

    def of(self, partition: int, place: addresses.Position) -> bytes:
        """Empty for an event that is not known, such as a duplicate."""
        for group in self._groups.get(partition, []):
            if group.first <= place.offset <= group.last:
                same = (group.events.offsets == place.offset) & (group.events.ordinals == place.ordinal)
                found = np.flatnonzero(same)
                return letters.encode(group.table, int(found[0])) if len(found) else b""
        return b""
