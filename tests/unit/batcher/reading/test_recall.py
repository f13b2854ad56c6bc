"""`batcher.reading.recall`: what a lane knows again must not depend on whether a block stands in the log once or twice."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from penstock.batcher import settings as lane_settings
from penstock.batcher.reading import decoding, recall
from penstock.core import blocks, dedup
from penstock.core.state import spec, table
from penstock.log import port

SCHEMA = pa.schema([("id", pa.string())])
COUNT = spec.Value(kind=spec.Kind.COUNT, column=pa.field("before", pa.int64()))
STATE = spec.StateSpec(key=("id",), max_keys=100, values=(COUNT,))
BLOCKS = st.lists(st.tuples(st.sampled_from("pq"), st.lists(st.integers(0, 9), min_size=1, max_size=4)), min_size=1, max_size=12)


class DoubledLog:
    """One partition, read as the port says: newest first without values, or on from an offset."""

    def __init__(self, records: Sequence[port.Record]) -> None:
        self._records = records

    async def headers(self, topic: str, partition: int, before: int, *, limit: int) -> Sequence[port.Record]:
        return list(self._records[max(0, before - min(limit, 3)) : before])[::-1]

    async def read(self, topic: str, partition: int, offset: int, *, max_bytes: int) -> Sequence[port.Record]:
        return self._records[offset : offset + 2]


def log_of(made: Sequence[tuple[str, list[int]]], again: Sequence[int]) -> tuple[list[port.Record], list[port.Record]]:
    """Each block at its second, those at `again` once more behind a block or two; and the same without."""
    order: list[int] = []
    for number in range(len(made)):
        order += [number] + [late for late in again if late == number - 1]
    order += [number for number in again if number == len(made) - 1]
    records = []
    for offset, number in enumerate(order):
        producer, keys = made[number]
        batch = pa.record_batch([pa.array([str(key) for key in keys])], schema=SCHEMA)
        value, headers = blocks.encode(batch, "f")
        sequence = sum(other == producer for other, _ in made[:number])
        records.append(
            port.Record(
                topic=port.EVENTS,
                partition=0,
                offset=offset,
                append_time_microseconds=offset,
                value=value,
                headers=headers,
                producer=producer,
                sequence=sequence,
            )
        )
    firsts = [order.index(number) for number in range(len(made))]
    return records, [records[offset] for offset in sorted(firsts)]


def verdicts(memory: recall.Memory, now: int) -> list[bool]:
    assert memory.dedup is not None
    every = pa.array([str(key) for key in range(10)])
    return np.asarray(memory.dedup.judge(now, dedup.hash_keys([every]))).tolist()


@given(made=BLOCKS, again=st.sets(st.integers(0, 11)), most=st.integers(1, 12))
def test_duplicates_are_told_as_if_no_block_stood_in_the_log_twice(made, again, most):
    """Catches a table that is made again with re-sent blocks in it: they push out what is still within the window."""
    told = lane_settings.Deduplicate(key=("id",), window_microseconds=1_000_000, max_events=most)
    settings = types.SimpleNamespace(values=None, transform=types.SimpleNamespace(state=None), deduplicate=told)

    async def on_worker(call, *arguments):
        return call(*arguments)

    doubled, once = log_of(made, sorted(again))
    recaller = recall.Recaller(settings, DoubledLog(doubled), SCHEMA, on_worker)
    recalled = asyncio.run(recaller.at(0, len(doubled), 0))
    live = recall.Memory(SCHEMA, told, None, decoding.Decoder())
    live.judge(once)
    assert verdicts(recalled.memory, len(doubled)) == verdicts(live, len(doubled))


@given(made=BLOCKS, again=st.sets(st.integers(0, 11)))
def test_keys_count_a_block_once_that_stands_in_the_log_twice(made, again):
    """Catches sums that grow by each restart after a re-send."""
    doubled, once = log_of(made, sorted(again))
    memory, expected = (recall.Memory(SCHEMA, None, table.StateTable(STATE), decoding.Decoder()) for _ in range(2))
    memory.see(doubled)
    expected.see(once)
    assert (memory.events, memory.blocks) == (expected.events, expected.blocks)
    assert memory.keyed is not None
    assert expected.keyed is not None
    assert memory.keyed.dump() == expected.keyed.dump()
