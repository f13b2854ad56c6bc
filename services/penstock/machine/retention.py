"""What may leave the log: records that every lane has finished, and that are old enough; letters when they are old.

Nothing unread is ever deleted, and neither is what a rebuilt deduplication table would have to look at again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from penstock.log import port

_CROWDED = 0.8
"""Of the log's bound: from here on `retention.hours` counts no more."""


def keep_seconds(hours: int, size_bytes: int, max_bytes: int) -> float:
    """How long events stay after they were read: what nobody needs any more must not keep new ones out."""
    return 0.0 if size_bytes > _CROWDED * max_bytes else hours * 3600.0


async def trim(
    log: port.EventLog,
    groups: Sequence[str],
    *,
    keep_seconds: float,
    window_seconds: float,
    stateful: bool = False,
    partitions: Sequence[int] | None = None,
) -> int:
    """Delete finished records older than both bounds, and return how many. A group that never committed holds everything.

    `stateful`: groups go on from their snapshots, and read again what follows them; `partitions`: None means all.
    """
    horizon = (time.time() - keep_seconds) * 1e6
    committed = [await log.committed(port.EVENTS, group) for group in groups]
    removed = 0
    for partition in range(log.partitions) if partitions is None else partitions:
        commits = [commit.get(partition) for commit in committed]
        needed = [commit.offset if commit else 0 for commit in commits]
        if stateful:
            needed = [await _snapshot_below(log, group, partition, at) for group, at in zip(groups, needed, strict=True)]
        finished = min(needed, default=0)
        seen = await _window_before(log, partition, finished, window_seconds)
        removed += await _trim_below(log, port.EVENTS, partition, finished, min(horizon, seen))
    return removed


async def _snapshot_below(log: port.EventLog, group: str, partition: int, offset: int) -> int:
    """Where a lane that goes on at `offset` begins to read; its state begins there when it has none yet."""
    offsets = await log.snapshot_offsets(port.EVENTS, group, partition)
    return max((at for at in offsets if at <= offset), default=0) if offsets else offset


async def _window_before(log: port.EventLog, partition: int, offset: int, window_seconds: float) -> float:
    """The append time, in microseconds, from which on a duplicate at `offset` or behind it may have its original.

    Where the record there can't be read, it is not older than the newest one before it that can.
    """
    end = (await log.bounds(port.EVENTS, partition)).end
    next_one = await log.headers(port.EVENTS, partition, offset + 1, limit=1)
    unread = [record.append_time_microseconds for record in next_one if offset < end]
    return min([*unread, time.time() * 1e6]) - window_seconds * 1e6


def _anywhere(_: int, offset: int) -> int:
    return offset


async def trim_letters(
    log: port.EventLog,
    *,
    keep_seconds: float,
    partitions: Sequence[int] | None = None,
    edge: Callable[[int, int], int] = _anywhere,
) -> int:
    """Delete dead letters older than the bound, and return how many.

    `partitions`: None means all. `edge`: by partition, the highest offset up to a given one below which letters may go.
    """
    horizon = (time.time() - keep_seconds) * 1e6
    removed = 0
    for partition in range(log.partitions) if partitions is None else partitions:
        end = (await log.bounds(port.DEAD_LETTERS, partition)).end
        removed += await _trim_below(log, port.DEAD_LETTERS, partition, end, horizon, edge)
    return removed


async def trim_replays(log: port.EventLog, lanes: Mapping[str, str], *, keep_seconds: float) -> int:
    """Delete finished records of the replay logs of `lanes` (group by sink) older than the bound, and return how many.

    The bound may not be shorter than that of `trim_letters`, which goes first: while its letter is there, a replay that no
    marker speaks of is what keeps the next job from putting the letter back twice.
    """
    horizon = (time.time() - keep_seconds) * 1e6
    removed = 0
    for sink, group in lanes.items():
        topic = port.replay_topic(sink)
        for partition, commit in (await log.committed(topic, group)).items():
            removed += await _trim_below(log, topic, partition, commit.offset, horizon)
    return removed


async def _trim_below(
    log: port.EventLog,
    topic: str,
    partition: int,
    limit: int,
    horizon_microseconds: float,
    edge: Callable[[int, int], int] = _anywhere,
) -> int:
    """Delete the records below `limit` that were appended before the horizon. Append times never go back, so halving finds it.

    Nobody knows when one that can't be read was appended: it goes with the next one that can be.
    """
    start = (await log.bounds(topic, partition)).start
    low, high, expired = start, limit, start
    while low < high:
        middle = (low + high + 1) // 2
        newest = await log.headers(topic, partition, middle, limit=1)
        if newest and newest[0].append_time_microseconds < horizon_microseconds:
            low, expired = middle, newest[0].offset + 1
        else:
            high = middle - 1
    low = edge(partition, expired)
    if low > start:
        await log.trim(topic, partition, low)
    return max(0, low - start)
