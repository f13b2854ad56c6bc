"""Deduplication judged over ten million ids and compared, verdict by verdict, with a sort of the whole log.

`measure()` is called by the benchmark; `python benchmarks/dedup_exactness.py` prints it alone.
"""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.core import dedup


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """`wrongly_dropped` and `let_through` are 0 or something is broken; nanoseconds are of CPU time per event."""

    events: int
    duplicates: int
    wrongly_dropped: int
    let_through: int
    hash_nanoseconds: float
    judge_nanoseconds: float
    sort_nanoseconds: float
    remembered: int
    bytes_per_remembered: float


def measure(
    *, events: int = 10_000_000, block_events: int = 10_000, max_events: int = 2_000_000, window_blocks: int = 400, seed: int = 1
) -> Exactness:
    """Judge `events` events with 36-byte ids, three in ten a repeat from anywhere before; a block is one unit of time."""
    numbers = _numbers(events, seed)
    times = np.arange(events) // block_events
    table = dedup.DedupTable(window_microseconds=window_blocks, max_events=max_events)
    verdicts = np.empty(events, np.bool_)
    hashing = judging = 0.0
    for first in range(0, events, block_events):
        ids = _ids(numbers[first : first + block_events])
        started = time.process_time()
        hashes = dedup.hash_keys([ids])
        hashed = time.process_time()
        verdicts[first : first + block_events] = table.judge(int(times[first]), hashes)
        judging += time.process_time() - hashed
        hashing += hashed - started
    started = time.process_time()
    expected = _by_sorting(numbers, times, window_blocks, max_events)
    sorting = time.process_time() - started
    return Exactness(
        events=events,
        duplicates=int(expected.sum()),
        wrongly_dropped=int((verdicts & ~expected).sum()),
        let_through=int((expected & ~verdicts).sum()),
        hash_nanoseconds=hashing / events * 1e9,
        judge_nanoseconds=judging / events * 1e9,
        sort_nanoseconds=sorting / events * 1e9,
        remembered=table.remembered,
        bytes_per_remembered=table.memory_bytes / table.remembered,
    )


def _numbers(events: int, seed: int) -> npt.NDArray[np.int64]:
    random = np.random.default_rng(seed)
    own = np.arange(events)
    repeats = (random.random(events) * own).astype(np.int64)
    return np.where(random.random(events) < 0.3, repeats, own)


def _ids(numbers: npt.NDArray[np.int64]) -> pa.Array:
    """36 hexadecimal digits each."""
    words = np.stack([numbers, numbers * 0x9E3779B9], axis=1).astype(">u8").view(np.uint8)
    padded = np.pad(words, ((0, 0), (2, 0)))
    edges = np.arange(len(numbers) + 1, dtype=np.int32) * 36
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(edges), pa.py_buffer(padded.tobytes().hex().encode()))


def _by_sorting(
    numbers: npt.NDArray[np.int64], times: npt.NDArray[np.int64], window: int, max_events: int
) -> npt.NDArray[np.bool_]:
    """The same verdicts without a table: equal numbers side by side, each against the one before it."""
    order = np.argsort(numbers, kind="stable")
    earlier, later = order[:-1], order[1:]
    same = numbers[earlier] == numbers[later]
    near = (later - earlier <= max_events) & (times[later] - times[earlier] <= window)
    expected = np.zeros(len(numbers), np.bool_)
    expected[later[same & near]] = True
    return expected


if __name__ == "__main__":
    print(measure())
