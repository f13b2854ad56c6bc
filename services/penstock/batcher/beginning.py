"""Where a lane begins that is to read only what comes from now on.

That is said once, for all partitions, before anybody reads as the lane. So it doesn't move with a process that ends before it
has committed, and a partition that is added later, which has no commit, is read from its start: all of it is newer than that.
"""

from __future__ import annotations

import contextlib

from penstock.batcher import settings as lane_settings
from penstock.core import ledger
from penstock.log import port


async def begin(settings: lane_settings.LaneSettings, log: port.EventLog) -> None:
    """Before the lane joins its group; nothing for one that reads all, or that has begun. Raises LogError."""
    if settings.start_from is not lane_settings.StartFrom.NOW or await log.committed(port.EVENTS, settings.lane):
        return
    ends = [(await log.bounds(port.EVENTS, partition)).end for partition in range(log.partitions)]
    commits = {
        partition: port.Commit(offset=end, metadata=ledger.to_metadata(ledger.LaneMetadata(start_offset=end)))
        for partition, end in enumerate(ends)
    }
    # Another process that was first has said it.
    with contextlib.suppress(port.GroupInUseError):
        await log.commit_for(port.EVENTS, settings.lane, commits)
