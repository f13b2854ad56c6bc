"""From a key's hash to the row that remembers it: one open-addressing table, filled and asked a block at a time.

The only loop is over probe rounds. A slot takes 12 bytes, and at most three quarters of them are used.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

_SMALLEST_CAPACITY = 1_024
_NO_ROW = -1


class KeyIndex:
    """Rows are numbered from 0 in the order in which their keys came; `entries` is how many there are."""

    __slots__ = ("_keys", "_rows", "_shift", "entries")

    def __init__(self, hashes: Hashes | None = None) -> None:
        """With the keys of rows 0, 1, 2 …, which differ from each other."""
        self.entries = 0
        self._allocate(_SMALLEST_CAPACITY)
        if hashes is not None:
            self._insert(hashes)

    @property
    def memory_bytes(self) -> int:
        return self._keys.nbytes + self._rows.nbytes

    def find_or_add(self, hashes: Hashes) -> tuple[Rows, Hashes]:
        """The row of each key, and the keys that had none: they got the next rows, in this order. No hash is 0."""
        self._make_room(len(hashes))
        slots = self._find_or_insert(hashes)
        rows = self._rows[slots].astype(np.int64)
        new = np.flatnonzero(rows == _NO_ROW)
        if not len(new):
            return rows, hashes[:0]
        # Of a key that comes more than once, the last one is left in its slot and gets the row.
        own = np.arange(len(new), dtype=np.int32)
        self._rows[slots[new]] = own
        winners = new[self._rows[slots[new]] == own]
        self._rows[slots[winners]] = np.arange(self.entries, self.entries + len(winners), dtype=np.int32)
        rows[new] = self._rows[slots[new]]
        self.entries += len(winners)
        return rows, hashes[winners]

    def _insert(self, hashes: Hashes) -> None:
        self._make_room(len(hashes))
        self._rows[self._find_or_insert(hashes)] = np.arange(self.entries, self.entries + len(hashes), dtype=np.int32)
        self.entries += len(hashes)

    def _make_room(self, keys: int) -> None:
        if self.entries + keys <= self._capacity * 3 // 4:
            return
        used = np.flatnonzero(self._keys)
        hashes, rows = self._keys[used], self._rows[used]
        self._allocate(1 << ((self.entries + keys) * 4 // 3).bit_length())
        self._rows[self._find_or_insert(hashes)] = rows

    def _find_or_insert(self, hashes: Hashes) -> Rows:
        """The slot of each key, taken now if it had none."""
        slots = (hashes >> self._shift).view(np.int64)
        rows, at, step = np.arange(len(hashes)), slots, 0
        while len(rows):
            empty = np.flatnonzero(self._keys[at] == 0)
            # Different keys may want one empty slot: the last gets it, the others see that and go on.
            self._keys[at[empty]] = hashes[empty]
            on = np.flatnonzero(self._keys[at] != hashes)
            step += 1
            # Steps of 1, 2, 3 … meet every slot of a power of two once.
            rows, hashes, at = rows[on], hashes[on], (at[on] + step) & (self._capacity - 1)
            slots[rows] = at
        return slots

    @property
    def _capacity(self) -> int:
        return len(self._keys)

    def _allocate(self, capacity: int) -> None:
        self._keys: Hashes = np.zeros(capacity, np.uint64)
        self._rows = np.full(capacity, _NO_ROW, np.int32)
        self._shift = np.uint64(65 - capacity.bit_length())
