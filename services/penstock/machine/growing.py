"""Partitions that are added to the topics of a source while it is read.

Everything that counts partitions, from the books of a lane to the log beside the topics, is made for as many as there are. So the
lanes of this process land what they have read, end, and begin again on a log that has grown; that is what a restart would do.
"""

from __future__ import annotations

import structlog

from penstock.log import port
from penstock.log.kafka.foreign import front as foreign
from penstock.machine.parts import lane_set

LOOK_SECONDS = 10.0

_log = structlog.get_logger()


class Growing:
    """Of one process: `look` now and then."""

    def __init__(self, log: port.EventLog, lanes: lane_set.LaneSet) -> None:
        self._log, self._lanes = log, lanes

    async def look(self) -> None:
        """Nothing happens to a log of our own, which does not grow. Raises LogError."""
        if isinstance(self._log, foreign.ForeignLog) and await self._log.has_grown():
            _log.info("partitions_added", before=self._log.partitions)
            await self._lanes.anew(self._log.grow)
            _log.info("partitions_taken_in", now=self._log.partitions)
