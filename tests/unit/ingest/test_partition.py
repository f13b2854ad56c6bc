"""One producer's blocks in one partition."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from tests.unit.ingest import memory_log

from penstock.ingest import compose, partition
from penstock.log import port


def _block(value: bytes = b"x") -> compose.Block:
    return compose.Block(partition=None, value=value, headers={}, rows=1, requests=(0,))


def _writer(log: memory_log.MemoryLog) -> partition.PartitionWriter:
    names = (f"producer-{number}" for number in itertools.count())
    return partition.PartitionWriter(log, 0, lambda: next(names))  # type: ignore[arg-type]


def _soon() -> float:
    return asyncio.get_running_loop().time() + 0.2


async def test_sequences_are_gapless_in_the_order_of_the_calls() -> None:
    """Catches two appends under way at once, which the log may store in any order."""
    log = memory_log.MemoryLog()
    writer = _writer(log)
    await asyncio.gather(*(writer.append(_block(b"%d" % number), _soon()) for number in range(5)))
    assert [(record.sequence, record.value) for record in log.records[0]] == [(number, b"%d" % number) for number in range(5)]


async def test_a_failed_append_is_sent_again_under_the_same_sequence() -> None:
    """Catches a re-send that looks like a new block: it would be read twice."""
    log = memory_log.MemoryLog()
    faults = iter([port.LogError("disk"), None])
    log.fail = lambda number, record: next(faults)
    await _writer(log).append(_block(), asyncio.get_running_loop().time() + 5)
    assert [(record.producer, record.sequence) for record in log.records[0]] == [("producer-0", 0)]


async def test_an_outcome_that_stays_unknown_ends_the_producer() -> None:
    """Catches s+1 sent while s is unknown (a hole that reads as lost), and s used again for another block (one that vanishes)."""
    log = memory_log.MemoryLog()
    writer = _writer(log)
    log.fail = lambda number, record: "silent"
    with pytest.raises(partition.UnknownOutcomeError):
        await writer.append(_block(b"lost?"), _soon())
    log.fail = lambda number, record: None
    await writer.append(_block(b"next"), _soon())
    assert [(record.producer, record.sequence, record.value) for record in log.records[0]] == [
        ("producer-0", 0, b"lost?"),
        ("producer-1", 0, b"next"),
    ]


async def test_a_full_log_uses_up_no_sequence() -> None:
    """Catches a gap after a block that was surely not written."""
    log = memory_log.MemoryLog()
    writer = _writer(log)
    log.fail = lambda number, record: port.LogFullError("full")
    with pytest.raises(port.LogFullError):
        await writer.append(_block(), _soon())
    log.fail = lambda number, record: None
    await writer.append(_block(), _soon())
    assert [(record.producer, record.sequence) for record in log.records[0]] == [("producer-0", 0)]


async def test_full_after_a_failure_is_not_taken_for_surely_not_written() -> None:
    """Catches a sequence used again although the first attempt may have stored another block under it."""
    log = memory_log.MemoryLog()
    faults = itertools.chain([port.LogError("disk")], itertools.repeat(port.LogFullError("full")))
    log.fail = lambda number, record: next(faults)
    with pytest.raises(partition.UnknownOutcomeError):
        await _writer(log).append(_block(), _soon())
