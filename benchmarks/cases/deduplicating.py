"""`deduplicate`: hash the ids of a block and judge them against two million; `deduplicate_exact`: whether that is right."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks import case, dedup_exactness, events, stage
from benchmarks.references import deduplication
from penstock.core import dedup

REMEMBERED = 2_000_000
DUPLICATE_SHARE = 0.2
_ALWAYS = 1 << 40
MOST_BYTES_PER_ID = 20.0

Block = tuple[int, pa.Array, list[str]]


class DeduplicateBench:
    """Both tables are filled first; every round goes on where the one before has ended."""

    def __init__(self, count: int) -> None:
        self._remembered = min(REMEMBERED, count * 20)
        self._count = count
        self._random = np.random.default_rng(3)
        self._numbers: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)
        self._now = 0
        self._table = dedup.DedupTable(window_microseconds=_ALWAYS, max_events=self._remembered)
        self._plain = deduplication.PlainTable(window=_ALWAYS, max_events=self._remembered)
        self._block_events = min(events.BLOCK_EVENTS, count)
        for _ in range(self._remembered // self._block_events):
            now, ids, texts = self._block(repeats=0.0)
            self._table.judge(now, dedup.hash_keys([ids]))
            self._plain.judge(now, texts)

    def inputs(self) -> list[Block]:
        """New ids, one in five a repeat from the window."""
        return [self._block(repeats=DUPLICATE_SHARE) for _ in range(self._count // self._block_events)]

    def _block(self, *, repeats: float) -> Block:
        size = self._block_events
        numbers = self._random.integers(0, 1 << 63, size, dtype=np.uint64)
        if repeats:
            again = np.flatnonzero(self._random.random(size) < repeats)
            numbers[again] = self._random.choice(self._numbers, len(again))
        self._numbers = np.concatenate([self._numbers, numbers])[-self._remembered :]
        ids = id_texts(numbers)
        self._now += 1
        return self._now, ids, ids.to_pylist()

    def product(self, inputs: list[Block]) -> list[npt.NDArray[np.bool_]]:
        return [self._table.judge(now, dedup.hash_keys([ids])) for now, ids, _ in inputs]

    def reference(self, inputs: list[Block]) -> list[list[bool]]:
        return [self._plain.judge(now, texts) for now, _, texts in inputs]

    def check(self, product: list[npt.NDArray[np.bool_]], reference: list[list[bool]]) -> None:
        for judged, plain in zip(product, reference, strict=True):
            case.require_same("verdicts", judged.tolist(), plain)

    def extra(self) -> dict[str, Any]:
        return {"remembered": self._table.remembered, "bytes_per_id": self._table.memory_bytes / self._table.remembered}


def id_texts(numbers: npt.NDArray[np.uint64]) -> pa.Array:
    """32 hexadecimal digits for each number."""
    words = np.stack([numbers, numbers * np.uint64(0x9E3779B97F4A7C15)], axis=1).astype(">u8")
    edges = np.arange(len(numbers) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(edges), pa.py_buffer(words.tobytes().hex().encode()))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExactCase:
    """Ten million ids judged by the table, and by sorting the whole log."""

    name: str = "deduplicate_exact"
    gated: bool = False

    def measure(self, effort: case.Effort) -> case.Measured:
        count = effort.sized(10_000_000, 100_000)
        found = dedup_exactness.measure(events=count, max_events=count // 5)
        faults = [
            f"{number:,} {what}"
            for what, number in (("wrongly dropped", found.wrongly_dropped), ("let through", found.let_through))
            if number
        ]
        if not effort.quick and found.bytes_per_remembered > MOST_BYTES_PER_ID:
            faults.append(f"{found.bytes_per_remembered:.1f} bytes per id")
        sample = case.Sample(
            product_us=(found.hash_nanoseconds + found.judge_nanoseconds) / 1e3, reference_us=found.sort_nanoseconds / 1e3
        )
        return case.Measured(
            name=self.name,
            unit="event",
            says="ten million ids, three in ten repeats, each verdict compared with a sort of the whole log",
            target=case.Target(),
            events=count,
            samples=[sample],
            extra={
                "target": f"0 wrong verdicts, ≤ {MOST_BYTES_PER_ID:g} bytes per id",
                "faults": faults,
                **dataclasses.asdict(found),
            },
        )


CASES: list[case.Case] = [
    stage.StageCase(
        name="deduplicate",
        says="hash and judge ids against 2,000,000 remembered, one in five a repeat; beside a dict of id to last position",
        target=case.Target(),
        events=100_000,
        quick_events=2_000,
        open=DeduplicateBench,
    ),
    ExactCase(),
]
