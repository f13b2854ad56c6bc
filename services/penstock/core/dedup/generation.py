"""One stretch of the log's keys: an open-addressing table of (hash, last position), and a Bloom filter once it is closed.

Every step is over a whole block; the only loops are over probe rounds. A slot takes 12 bytes, the filter one more, and a
closed generation is three quarters full: some 17.5 bytes per key.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]
Slots = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]
Distances = npt.NDArray[np.uint32]

SMALLEST_CAPACITY = 1_024
_SLICE = 16_384
_WINDOW = 8


class Generation:
    """Keys from position `base` on; one generation is open, all older ones are closed.

    Positions are stored as distance from `base` plus one, so that a fresh zero page reads as "no position".
    """

    __slots__ = ("_bloom", "_distances", "_keys", "_shift", "base", "end", "entries", "first_time")

    def __init__(self, *, base: int, first_time: int, capacity: int) -> None:
        self.base = base
        self.end = base
        self.first_time = first_time
        self.entries = 0
        self._bloom: Hashes = np.zeros(0, np.uint64)
        self._allocate(capacity)

    @property
    def capacity(self) -> int:
        return len(self._keys)

    @property
    def memory_bytes(self) -> int:
        return self._keys.nbytes + self._distances.nbytes + self._bloom.nbytes

    def has_room(self, keys: int) -> bool:
        return self.entries + keys <= self.capacity * 3 // 4

    def grow(self) -> None:
        """Twice the slots."""
        used = np.flatnonzero(self._keys)
        keys, distances = self._keys[used], self._distances[used]
        self._allocate(2 * self.capacity)
        for first in range(0, len(keys), _SLICE):
            part = slice(first, first + _SLICE)
            self._distances[self._find_or_insert(keys[part])] = distances[part]

    def record(self, hashes: Hashes) -> Positions:
        """Remember the next positions; the answer is the position each key had last before its own event, or -1.

        Keys may repeat within `hashes`; there must be room for all of them.
        """
        slots = self._find_or_insert(hashes)
        before = self._distances[slots]
        own = np.arange(self.end - self.base + 1, self.end - self.base + 1 + len(hashes), dtype=np.uint32)
        # Of equal indices the last one is the one that is left.
        self._distances[slots] = own
        last_of_key = self._distances[slots] == own
        self.entries += int(np.count_nonzero(last_of_key & (before == 0)))
        if not last_of_key.all():
            self._chain(np.flatnonzero(~last_of_key), slots, own, before)
        self.end += len(hashes)
        return self._positions(before)

    def close(self) -> None:
        """Nothing is recorded any more: build the filter that answers most look-ups."""
        self._bloom = np.zeros(self.capacity // 8, np.uint64)
        for first in range(0, self.capacity, _SLICE):
            keys = self._keys[first : first + _SLICE]
            keys = keys[keys != 0]
            np.bitwise_or.at(self._bloom, self._bloom_words(keys), bloom_bits(keys))

    def may_hold(self, hashes: Hashes, bits: Hashes) -> npt.NDArray[np.bool_]:
        """False where the key is definitely not here. Only of a closed generation; `bits` is `bloom_bits(hashes)`."""
        words = self._bloom[self._bloom_words(hashes)]
        np.bitwise_and(words, bits, out=words)
        return np.equal(words, bits)

    def find(self, hashes: Hashes) -> Positions:
        """The last position of each key, or -1."""
        distances = np.zeros(len(hashes), np.uint32)
        rows, probe = np.arange(len(hashes)), 0
        while len(rows):
            window = self._window(hashes[rows], probe)
            keys = self._keys[window]
            here, column = np.nonzero(keys == hashes[rows, None])
            distances[rows[here]] = self._distances[window[here, column]]
            on: npt.NDArray[np.bool_] = np.logical_and.reduce(keys != 0, axis=1)
            on[here] = False
            rows, probe = rows[on], probe + _WINDOW
        return self._positions(distances)

    def _find_or_insert(self, hashes: Hashes) -> Slots:
        """The slot of each key, taken now if it had none."""
        slots = self._home(hashes)
        rows, at, step = np.arange(len(hashes)), slots, 0
        while len(rows):
            empty = np.flatnonzero(self._keys[at] == 0)
            # Different keys may want one empty slot: the last gets it, the others see that and go on.
            self._keys[at[empty]] = hashes[empty]
            on = np.flatnonzero(self._keys[at] != hashes)
            step += 1
            rows, hashes, at = rows[on], hashes[on], (at[on] + step) & (self.capacity - 1)
            slots[rows] = at
        return slots

    def _chain(self, followed: Rows, slots: Slots, own: Distances, before: Distances) -> None:
        """Where a key repeats in the block, what its later events follow is the one before them; `followed` are the others."""
        last = np.unique(self._distances[slots[followed]] - own[0])
        rows = np.sort(np.concatenate([followed, last]))
        order = rows[np.argsort(slots[rows], kind="stable")]
        repeats = np.flatnonzero(slots[order[1:]] == slots[order[:-1]])
        before[order[repeats + 1]] = own[order[repeats]]

    def _allocate(self, capacity: int) -> None:
        self._keys: Hashes = np.zeros(capacity, np.uint64)
        self._distances = np.zeros(capacity, np.uint32)
        self._shift = np.uint64(65 - capacity.bit_length())

    def _home(self, hashes: Hashes) -> Slots:
        return (hashes >> self._shift).view(np.int64)

    def _window(self, hashes: Hashes, probe: int) -> Slots:
        """The slots of the next few probes, one line per key. Steps of 1, 2, 3 … meet every slot of a power of two once."""
        probes = np.arange(probe, probe + _WINDOW)
        return (self._home(hashes)[:, None] + probes * (probes + 1) // 2) & (self.capacity - 1)

    def _bloom_words(self, hashes: Hashes) -> Rows:
        return (hashes & np.uint64(self.capacity // 8 - 1)).view(np.int64)

    def _positions(self, distances: Distances) -> Positions:
        return np.where(distances != 0, distances.astype(np.int64) + (self.base - 1), -1)


def bloom_bits(hashes: Hashes) -> Hashes:
    """Four bits of the one word a key has in any filter, from hash bits that choose neither the word nor the first slot."""
    twelve = np.uint64(4095)
    bits: Hashes = _TWO_BITS[(hashes >> np.uint64(20)) & twelve] | _TWO_BITS[(hashes >> np.uint64(32)) & twelve]
    return bits


_TWO_BITS = np.array([1 << (pair & 63) | 1 << (pair >> 6) for pair in range(4096)], np.uint64)
