"""`form_batches_…`: arrivals of different patterns into batches of at most so many rows and such an age."""

from __future__ import annotations

import dataclasses
import functools
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks import case, stage
from benchmarks.references import batching
from penstock.core import addresses
from penstock.core.batching import builder, chunks, model
from penstock.core.transform import spec

ROWS = 20_000
LINGER_SECONDS = 0.25
TICK_SECONDS = 1 / 2048
"""A power of two: sums of ticks have no rounding, so both sides see the same moments."""
_PRODUCERS = 64

Mask = npt.NDArray[np.bool_]
Formed = list[tuple[str, pa.Table]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What one block brings: the same rows as a table and as objects; `keep` says which are no duplicates."""

    whole: chunks.Chunk
    rows: list[dict[str, Any]]
    keep: Mask | None

    @property
    def at(self) -> float:
        return self.whole.born

    def chunk(self) -> chunks.Chunk:
        """As the transform hands it on, its bytes counted, then without the duplicates: this is timed."""
        whole, size = self.whole, self.whole.rows.get_total_buffer_size()
        made = chunks.Chunk(range=whole.range, rows=whole.rows, events=whole.events, born=whole.born, bytes=size)
        return made if self.keep is None else made.where(self.keep)


Sizes = Callable[[random.Random], Iterator[tuple[int, int, int]]]
"""(ticks since the last block, partition, rows) without an end."""


def light(rng: random.Random) -> Iterator[tuple[int, int, int]]:
    """2,000 events/s: what one linger of ingest gathers."""
    while True:
        yield 41, 0, rng.randrange(20, 60)


def heavy(rng: random.Random) -> Iterator[tuple[int, int, int]]:
    """Full blocks, one after the other."""
    while True:
        yield 41, 0, rng.randrange(9_000, 10_001)


def bursty(rng: random.Random) -> Iterator[tuple[int, int, int]]:
    """A trickle, and now and then twenty full blocks at once."""
    while True:
        for _ in range(50):
            yield 100, 0, rng.randrange(20, 60)
        for _ in range(20):
            yield 2, 0, 10_000


def many_producers(rng: random.Random) -> Iterator[tuple[int, int, int]]:
    """64 partitions, each with small blocks of its own."""
    while True:
        for partition in range(_PRODUCERS):
            yield 1, partition, rng.randrange(100, 400)


class FormBench:
    def __init__(self, count: int, *, sizes: Sizes, duplicates: float = 0.0) -> None:
        self._arrivals = list(arrivals(count, sizes, duplicates))

    def inputs(self) -> list[Arrival]:
        return self._arrivals

    def product(self, inputs: list[Arrival]) -> Formed:
        return form(inputs)

    def reference(self, inputs: list[Arrival]) -> list[batching.Batch]:
        return form_plainly(inputs)

    def check(self, product: Formed, reference: list[batching.Batch]) -> None:
        case.require_same("reasons", [reason for reason, _ in product], [reason for reason, _ in reference])
        for (_, table), (_, rows) in zip(product, reference, strict=True):
            case.require_same("rows", table.to_pylist(), rows)

    def extra(self) -> dict[str, Any]:
        return {"blocks": len(self._arrivals), "mean_rows_per_block": float(np.mean([len(one.rows) for one in self._arrivals]))}


def arrivals(count: int, sizes: Sizes, duplicates: float) -> Iterator[Arrival]:
    """`count` events in blocks as `sizes` says."""
    rng, random_numbers = random.Random(5), np.random.default_rng(5)
    offsets: dict[int, int] = {}
    ticks, made = 0, 0
    for pause, partition, wanted in sizes(rng):
        rows = min(wanted, count - made)
        ticks += pause
        offsets[partition] = offsets.get(partition, -1) + 1
        keep = random_numbers.random(rows) >= duplicates if duplicates else None
        yield arrival(ticks * TICK_SECONDS, partition, offsets[partition], rows_table(made, rows), keep)
        made += rows
        if made == count:
            return


def arrival(at: float, partition: int, offset: int, table: pa.Table, keep: Mask | None = None) -> Arrival:
    """One block's rows, at that moment."""
    numbered = table.append_column(spec.EVENT_COLUMN, pa.array(np.arange(len(table), dtype=np.int32)))
    whole = chunks.Chunk(
        range=addresses.Range("bench", partition, addresses.Position(offset), addresses.Position(offset + 1)),
        rows=numbered,
        events=chunks.Events(offsets=np.full(len(table), offset), ordinals=np.arange(len(table))),
        born=at,
        bytes=0,
    )
    return Arrival(whole=whole, rows=table.to_pylist(), keep=keep)


def rows_table(first: int, rows: int) -> pa.Table:
    numbers = np.arange(first, first + rows)
    return pa.table({"id": pa.array(numbers).cast(pa.string()), "user_id": numbers % 50_000, "seconds": numbers / 1000})


def form(inputs: list[Arrival], *, rows: int = ROWS, linger: float = LINGER_SECONDS) -> Formed:
    """Through the product's builder, asked as the dispatcher asks it: after each chunk, and when its one timer fires."""
    building = _builder(rows, linger)
    formed: Formed = []
    timer = math.inf
    for arrival in inputs:
        chunk = arrival.chunk()
        if arrival.at >= timer:
            timer = _take_due(building, arrival.at, formed)
        if chunk.rows.num_rows:
            building.add(chunk)
            timer = _take_due(building, arrival.at, formed)
    while building.rows:
        formed.append(_batch(building.take(builder.Reason.DRAIN)))
    return formed


def _builder(rows: int, linger: float) -> builder.Builder:
    written = model.WriteModel(
        budget_seconds=linger, target_rows=rows, cap_rows=rows, wanted_concurrency=1, maximum_concurrency=1
    )
    limits = model.Limits(rows=rows, bytes=1 << 30, linger_seconds=linger, concurrency=1, write_timeout_seconds=30.0)
    return builder.Builder(written, limits)


def _take_due(building: builder.Builder, now: float, formed: Formed) -> float:
    while isinstance(due := building.due(now), builder.Reason):
        formed.append(_batch(building.take(due)))
    return due


def _batch(batch: builder.Batch) -> tuple[str, pa.Table]:
    return batch.reason.value, pa.concat_tables([chunk.rows for chunk in batch.chunks]).drop_columns([spec.EVENT_COLUMN])


def form_plainly(inputs: list[Arrival], *, rows: int = ROWS, linger: float = LINGER_SECONDS) -> list[batching.Batch]:
    """One event after the other."""
    batcher = batching.PlainBatcher(rows=rows, linger=linger)
    for arrival in inputs:
        if arrival.keep is None:
            for row in arrival.rows:
                batcher.put(row, arrival.at)
        else:
            for row, kept in zip(arrival.rows, arrival.keep.tolist(), strict=True):
                if kept:
                    batcher.put(row, arrival.at)
            batcher.look(arrival.at)
    batcher.flush("drain")
    return batcher.flushed


def _form(name: str, says: str, sizes: Sizes, duplicates: float = 0.0) -> stage.StageCase:
    return stage.StageCase(
        name=f"form_batches_{name}",
        says=f"{says}; beside a batcher with a put per event",
        target=case.Target(ratio=1.25),
        events=200_000,
        quick_events=4_000,
        open=functools.partial(FormBench, sizes=sizes, duplicates=duplicates),
    )


CASES = [
    _form("light", "blocks of 40 events at 2,000 events/s", light),
    _form("heavy", "blocks of 10,000 events", heavy),
    _form("bursty", "a trickle and bursts of 200,000 events", bursty),
    _form("many_producers", "64 partitions with blocks of 250 events", many_producers),
    _form("duplicates", "blocks of 10,000 events, half of them duplicates", heavy, 0.5),
]
