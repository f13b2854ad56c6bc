"""How far a lane is behind the end of its log, by the offsets below which it has finished."""

from __future__ import annotations

import time
from collections.abc import Mapping

from penstock.core import blocks
from penstock.log import port

_BLOCKS = 4
"""Of a partition, how many are looked at."""


async def finished_below(log: port.EventLog, commits: Mapping[int, port.Commit]) -> dict[int, int]:
    """By partition, the lowest unfinished offset, as a group has committed."""
    starts = {partition: (await log.bounds(port.EVENTS, partition)).start for partition in range(log.partitions)}
    return starts | {partition: commit.offset for partition, commit in commits.items()}


async def unread_blocks(log: port.EventLog, finished: Mapping[int, int]) -> int:
    """Blocks in the log that are not finished. `finished`: by partition, the lowest offset that isn't."""
    total = 0
    for partition, offset in finished.items():
        total += max(0, (await log.bounds(port.EVENTS, partition)).end - offset)
    return total


async def measured(log: port.EventLog, finished: Mapping[int, int], *, of_blocks: bool) -> tuple[int, float]:
    """Unfinished events and the age of the oldest in seconds. Without `of_blocks` each offset is an event, as in topics that
    others write; else the events of the next few blocks are counted, and more blocks taken to hold as many each.

    Kafka gives no header without its value, and this is asked every second: looking at everything unread would cost a lane
    that is behind more than its work.
    """
    events, oldest, look_at = 0, 0.0, _BLOCKS if of_blocks else 1
    for partition, offset in finished.items():
        bounds = await log.bounds(port.EVENTS, partition)
        behind = bounds.end - offset
        if behind <= 0:
            continue
        page = await log.headers(port.EVENTS, partition, min(bounds.end, offset + look_at), limit=look_at)
        seen = [record for record in page if record.offset >= offset]
        rows = sum(blocks.told_rows(record.headers) for record in seen)
        # Of blocks that can't be read it is known that they are there.
        events += round(rows * behind / len(seen)) if of_blocks and seen else behind
        oldest = max([oldest, *(time.time() - record.append_time_microseconds / 1e6 for record in seen)])
    return events, oldest
