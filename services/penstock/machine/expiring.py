"""How near to being deleted the oldest unread records are, where topics are the user's own: looked at now and then, and told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog

from penstock.core import expiry
from penstock.log import port
from penstock.machine import sourcing
from penstock.machine.parts import lane_set
from penstock.telemetry import metrics
from penstock.v1 import control_pb2

LOOK_SECONDS = 30.0
_REMEDY = "behind that they are deleted unread: raise retention.ms or retention.bytes of the topic, or let the lane land faster"

_log = structlog.get_logger()


class Expiring:
    """Of the lanes in this process. `look` is a chore; a log that keeps what is unread is not looked at."""

    def __init__(self, log: port.EventLog, running: lane_set.LaneSet) -> None:
        self._used_of: Callable[[Mapping[int, int]], Awaitable[float]] | None = sourcing.retention_used(log)
        self._running = running
        self._used: dict[str, float] = {}

    async def look(self) -> None:
        """Measure and export; what can't be asked now stays as it was last known."""
        if self._used_of is None:
            return
        for sink in self._running.groups:
            lane = self._running[sink]
            try:
                used = await self._used_of({partition: at for partition, (at, _) in lane.accounts.commits().items()})
            except port.LogError as error:
                _log.info("retention_unknown", sink=sink, error=str(error))
                continue
            if used >= expiry.NEAR > self._used.get(sink, 0.0):
                _log.warning("retention_near", sink=sink, message=said(used))
            self._used[sink] = used
            metrics.LANE_RETENTION_USED.labels(**lane.settings.labels).set(used)

    def add_to(self, statuses: Iterable[control_pb2.LaneStatus]) -> None:
        """Fill in what is known; a lane that says nothing else says this."""
        for status in statuses:
            used = self._used.get(status.sink, 0.0)
            status.lag.retention_used = used
            if used >= expiry.NEAR and not status.message:
                status.message = said(used)


def said(used: float) -> str:
    """`used`: the share of the retention."""
    return f"the oldest unread records have used {min(used, 1.0):.0%} of what their topic keeps; {_REMEDY}"
