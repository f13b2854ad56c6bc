"""Topics of a source that are given more partitions while they are read and written, on a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
import uuid
from collections.abc import AsyncIterator

import pytest
from tests.integration import kafka_sink, kafka_source, source_run
from tests.integration.test_source_topics import IDS, grow, ids

from penstock.core import failpoints
from penstock.log.kafka.foreign import front as foreign
from penstock.machine import growing
from penstock.machine.parts import lane_set
from penstock.machine.peers import gate

PATIENCE_SECONDS = 120.0


@contextlib.asynccontextmanager
async def reading(run: source_run.SourceRun) -> AsyncIterator[tuple[foreign.ForeignLog, lane_set.LaneSet]]:
    """The lanes of one process, over a log of its own; it looks at its topics all the time."""
    log = await run.open_log()
    lanes = lane_set.LaneSet(run.pipeline, log, failpoints.nothing, gate.Peers())

    async def look() -> None:
        watch = growing.Growing(log, lanes)
        while True:
            await watch.look()
            await asyncio.sleep(0.2)

    try:
        await lanes.open(run.pipeline.spec.sinks[0], run._address)
        looking = asyncio.create_task(look())
        try:
            yield log, lanes
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
    finally:
        await lanes.close()
        await log.close()


@pytest.mark.parametrize("own", ["Embedded", "Kafka"])
async def test_new_partitions_are_read_from_their_beginning_while_all_goes_on(kafka_server, tmp_path: pathlib.Path, own: str):
    """Catches a partition that nobody reads until a restart, one that is read from where it was found, letters that have no place
    in the log beside, and rows lost or doubled when lanes and processes divide the topic anew under load."""
    bootstrap, sent = kafka_server.bootstrap, 0
    topic = kafka_sink.make_topic(bootstrap, partitions=2)
    log = {"type": "Kafka", "kafka": {"bootstrapServers": [bootstrap], "replicationFactor": 1}}
    text = kafka_source.pipeline(bootstrap, [topic], log=log if own == "Kafka" else None)
    text = text.replace("name: orders", f"name: o{uuid.uuid4().hex[:12]}", 1)

    async def send(partitions: int) -> None:
        nonlocal sent
        for partition in range(partitions):
            values = map(kafka_source.order, range(sent, sent := sent + 50))
            await asyncio.to_thread(kafka_source.produce, bootstrap, topic, values, partition=partition)

    async with source_run.SourceRun(tmp_path, text).opened() as run, contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(reading(run)) for _ in range(2 if own == "Kafka" else 1)]
        await send(2)
        await grow(bootstrap, topic, 4)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while {log.partitions for log, _ in readers} != {4}:
                await send(4)
        await asyncio.to_thread(kafka_source.produce, bootstrap, topic, [b"{"], partition=3)
        await send(4)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(await run.rows(IDS)) < sent or not await _letters(readers):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.1)
        await stack.aclose()
        assert await run.rows(IDS) == ids(range(sent))
        done = await run.drained()
        assert (done.read, done.written, done.dead_lettered_events, done.unexplained()) == (sent + 1, sent, 1, 0)
        (letter,) = await run.letters()
        assert (letter.partition, letter.record.partition, letter.original) == (3, 3, b"{")


async def _letters(readers: list[tuple[foreign.ForeignLog, lane_set.LaneSet]]) -> int:
    log, _ = readers[0]
    return (await log.bounds("dead-letters", 3)).end


@pytest.mark.parametrize("told", ["source", "sink"])
async def test_now_leaves_out_nothing_of_a_partition_that_is_added_later(kafka_server, tmp_path: pathlib.Path, told: str):
    """Catches a lane that begins a partition at its end although it wasn't there when the lane began: what was written between
    its making and its finding would be lost without a word."""
    bootstrap, now = kafka_server.bootstrap, {"startFrom": {"type": "Now"}}
    topic = kafka_sink.make_topic(bootstrap, partitions=2)
    text = kafka_source.pipeline(bootstrap, [topic], source=now if told == "source" else None)
    if told == "sink":
        text = text.replace("name: warehouse", "name: warehouse\n    startFrom: {type: Now}", 1)

    async def send(*numbers: int, partition: int) -> None:
        await asyncio.to_thread(kafka_source.produce, bootstrap, topic, map(kafka_source.order, numbers), partition=partition)

    await send(0, partition=0)
    async with source_run.SourceRun(tmp_path, text).opened() as run:
        log = await run.open_log()
        lanes = lane_set.LaneSet(run.pipeline, log, failpoints.nothing, gate.Peers())
        try:
            await lanes.open(run.pipeline.spec.sinks[0], run._address)
            await grow(bootstrap, topic, 3)
            await send(1, partition=2)
            await growing.Growing(log, lanes).look()
            await send(2, partition=2)
            await send(3, partition=0)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(await run.rows(IDS)) < 3:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.1)
        finally:
            await lanes.close()
            await log.close()
        assert (await run.drained()).read == 3
        assert await run.rows(IDS) == ids([1, 2, 3])
