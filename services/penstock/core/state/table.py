"""One lane's memory of one partition's keys: what each event finds there, and which keys are forgotten.

A function of the log alone: of the events before this one, in their order, and of the edges of the blocks they came in,
after which keys are forgotten. What became of an event later does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.core import dedup
from penstock.core.state import columns, index, runs, spec, stores

_KEPT_OF_FOUR = 3
"""Quarters of `max_keys` that stay when keys are forgotten: doing it at every new key would cost a search each."""


class StateTable:
    """Feed each block once, in order of offset. Not thread-safe.

    `head` counts the events that took part; `evicted` the keys that were forgotten.
    """

    def __init__(self, told: spec.StateSpec) -> None:
        self.spec = told
        self.head = 0
        self.evicted = 0
        self._index = index.KeyIndex()
        self._hashes: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._seen = np.zeros(0, np.int64)
        self._columns = {value: columns.column(value) for value in told.values}

    @property
    def keys(self) -> int:
        """Keys in memory."""
        return self._index.entries

    @property
    def memory_bytes(self) -> int:
        held = sum(column.memory_bytes for column in self._columns.values())
        return self._index.memory_bytes + self._hashes.nbytes + self._seen.nbytes + held

    @property
    def unkept(self) -> int:
        """Values that were too long to remember."""
        return sum(column.unkept for column in self._columns.values())

    def see(self, batch: pa.RecordBatch, counted: npt.NDArray[np.bool_]) -> list[pa.Array[Any]]:
        """What each event of the next block finds, one array per value; NULL for events that aren't `counted`."""
        ordinals = np.flatnonzero(counted)
        if not len(ordinals):
            return [pa.nulls(batch.num_rows, value.column.type) for value in self.spec.values]
        hashes = dedup.hash_keys([batch.column(name) for name in self.spec.key])
        rows = self._rows(hashes if len(ordinals) == len(hashes) else hashes[ordinals])
        sorted_runs = runs.Runs.of(rows, ordinals, batch.num_rows)
        found = [self._columns[value].see(sorted_runs, batch) for value in self.spec.values]
        # Of equal indices the last one is the one that is left.
        self._seen[rows] = np.arange(self.head, self.head + len(rows))
        self.head += len(rows)
        self._evict()
        return found

    def change(self, told: spec.StateSpec) -> None:
        """Go on with other values and another bound: new values start empty, those that are gone are forgotten."""
        known = self._columns
        self._columns = {}
        for value in told.values:
            if value not in known:
                known[value] = columns.column(value)
                known[value].grow(len(self._hashes))
            self._columns[value] = known[value]
        self.spec = told
        self._evict()

    def _rows(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        before = self._index.entries
        rows, new = self._index.find_or_add(hashes)
        if len(new):
            self._grow(self._index.entries)
            self._hashes[before : self._index.entries] = new
        return rows

    def _grow(self, rows: int) -> None:
        if rows <= len(self._hashes):
            return
        room = max(rows, len(self._hashes) * 3 // 2)
        self._hashes, self._seen = stores.grown(self._hashes, room), stores.grown(self._seen, room)
        for column in self._columns.values():
            column.grow(room)

    def _evict(self) -> None:
        """Where there are too many keys, the least recently seen go until three quarters of the bound are left."""
        if self.keys <= self.spec.max_keys:
            return
        left = max(1, self.spec.max_keys * _KEPT_OF_FOUR // 4)
        gone = self.keys - left
        kept = np.sort(np.argpartition(self._seen[: self.keys], gone)[gone:])
        self.evicted += gone
        self._hashes, self._seen = self._hashes[kept], self._seen[kept]
        for column in self._columns.values():
            column.keep(kept)
        self._index = index.KeyIndex(self._hashes)

    # -- for snapshots

    def dump(self) -> tuple[list[pa.Array[Any]], dict[spec.Value, list[pa.Array[Any]]]]:
        """Hash and last event of each key, and the state of each value, by row."""
        rows = self.keys
        basic: list[pa.Array[Any]] = [pa.array(self._hashes[:rows]), pa.array(self._seen[:rows])]
        return basic, {value: column.dump(rows) for value, column in self._columns.items()}

    def load(self, head: int, basic: list[pa.Array[Any]], held: dict[spec.Value, list[pa.Array[Any]]]) -> None:
        """The inverse, of a table that has seen nothing."""
        self.head = head
        self._hashes, self._seen = (array.to_numpy().copy() for array in basic)
        self._index = index.KeyIndex(self._hashes)
        for value, column in self._columns.items():
            column.load(held[value])
