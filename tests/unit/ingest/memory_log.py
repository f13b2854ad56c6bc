"""As much of an event log as ingest uses, in memory, which can be made to fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.log import port


class MemoryLog:
    """Appends only, and is slow while `gate` is closed; `stored` is set with the first record.

    `fail` is asked before each append: an exception is raised, "silent" writes and never answers.
    """

    def __init__(self, partitions: int = 1) -> None:
        self.partitions = partitions
        self.log_id = "memory"
        self.records: list[list[port.NewRecord]] = [[] for _ in range(partitions)]
        self.fail: Callable[[int, port.NewRecord], Exception | str | None] = lambda partition, record: None
        self.gate: asyncio.Event | None = None
        self.stored = asyncio.Event()

    async def append(self, topic: str, partition: int, record: port.NewRecord) -> port.Appended:
        assert topic == port.EVENTS
        fault = self.fail(partition, record)
        if isinstance(fault, Exception):
            raise fault
        kept = self.records[partition]
        known = [(other.producer, other.sequence) for other in kept]
        if (record.producer, record.sequence) in known:
            offset = known.index((record.producer, record.sequence))
            return port.Appended(offset=offset, append_time_microseconds=0, resent=True)
        before = [other.sequence for other in kept if other.producer == record.producer]
        assert record.sequence == len(before), "a gap in a producer's sequences"
        kept.append(record)
        self.stored.set()
        if fault == "silent":
            await asyncio.Event().wait()
        if self.gate is not None:
            await self.gate.wait()
        return port.Appended(offset=len(kept) - 1, append_time_microseconds=0)
