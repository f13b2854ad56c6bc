"""What may leave the embedded log: records that every lane has finished, and that are old enough.

Nothing unread is ever deleted, and neither is what a rebuilt deduplication table would have to look at again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from penstock.log import port

_PAGE = 256


async def trim(log: port.EventLog, groups: Sequence[str], *, keep_seconds: float, window_seconds: float) -> int:
    """Delete finished records older than both bounds, and return how many. A group that never committed holds everything."""
    horizon = (time.time() - max(keep_seconds, window_seconds)) * 1e6
    removed = 0
    for partition in range(log.partitions):
        committed = [(await log.committed(port.EVENTS, group)).get(partition) for group in groups]
        finished = min((commit.offset if commit else 0 for commit in committed), default=0)
        before = await _older_than(log, partition, finished, horizon)
        start = (await log.bounds(port.EVENTS, partition)).start
        if before > start:
            await log.trim(port.EVENTS, partition, before)
            removed += before - start
    return removed


async def _older_than(log: port.EventLog, partition: int, finished: int, horizon_microseconds: float) -> int:
    """The offset below which every record is finished and was appended before the horizon."""
    before = finished
    while page := await log.headers(port.EVENTS, partition, before, limit=_PAGE):
        for record in page:
            if record.append_time_microseconds < horizon_microseconds:
                return record.offset + 1
        before = page[-1].offset
    return 0
