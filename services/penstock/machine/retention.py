"""What may leave the embedded log: records that every lane has finished, and that are old enough; letters when they are old.

Nothing unread is ever deleted, and neither is what a rebuilt deduplication table would have to look at again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from penstock.log import port


async def trim(log: port.EventLog, groups: Sequence[str], *, keep_seconds: float, window_seconds: float) -> int:
    """Delete finished records older than both bounds, and return how many. A group that never committed holds everything."""
    horizon = (time.time() - max(keep_seconds, window_seconds)) * 1e6
    committed = [await log.committed(port.EVENTS, group) for group in groups]
    removed = 0
    for partition in range(log.partitions):
        commits = [commit.get(partition) for commit in committed]
        finished = min((commit.offset if commit else 0 for commit in commits), default=0)
        removed += await _trim_below(log, port.EVENTS, partition, finished, horizon)
    return removed


async def trim_letters(log: port.EventLog, *, keep_seconds: float) -> int:
    """Delete dead letters older than the bound, and return how many."""
    horizon = (time.time() - keep_seconds) * 1e6
    removed = 0
    for partition in range(log.partitions):
        end = (await log.bounds(port.DEAD_LETTERS, partition)).end
        removed += await _trim_below(log, port.DEAD_LETTERS, partition, end, horizon)
    return removed


async def _trim_below(log: port.EventLog, topic: str, partition: int, limit: int, horizon_microseconds: float) -> int:
    """Delete the records below `limit` that were appended before the horizon. Append times never go back, so halving finds it."""
    start = (await log.bounds(topic, partition)).start
    low, high = start, limit
    while low < high:
        middle = (low + high + 1) // 2
        newest = await log.headers(topic, partition, middle, limit=1)
        if newest and newest[0].append_time_microseconds < horizon_microseconds:
            low = middle
        else:
            high = middle - 1
    if low > start:
        await log.trim(topic, partition, low)
    return low - start
