"""What a process says of itself to probes: alive, ready, and why not.

Alive is the event loop, never a broker or a store: a restart mends neither. Ready is what others should know: doors that can
append, lanes that know their partitions. A sink whose store is away stays ready, since its lanes' circuits see to that, and so
does a lane whose brokers are away.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

import structlog

from penstock.log import port
from penstock.machine import accepting, waiting
from penstock.machine.parts import doors, lane_set

_SILENT_SECONDS = 30.0
_LOOK_SECONDS = 5.0
_ANSWER_SECONDS = 10.0
_SUPERSEDED_TURNS = 6

_log = structlog.get_logger()


async def _nobody_refuses() -> str:
    return ""


class LogWatch:
    """Whether the log can be reached: asked of it, since events may not come for hours."""

    def __init__(
        self, log: port.EventLog, accepted: accepting.Accepting | None, refusal: Callable[[], Awaitable[str]] = _nobody_refuses
    ) -> None:
        """`accepted`: of doors over a log that others share, who may have changed the pipeline; `refusal`: why brokers that are
        there refuse who asks."""
        self._log, self._accepted, self._refusal = log, accepted, refusal
        self.away = self.superseded = self.refused = ""

    async def run(self) -> None:
        """Until cancelled."""
        for turn in itertools.count(1):
            await asyncio.sleep(_LOOK_SECONDS)
            await self.look(turn)

    async def look(self, turn: int) -> None:
        """Ask another partition's leader with each turn, and now and then what was accepted."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._log.bounds(port.EVENTS, turn % self._log.partitions)
                if self._accepted and turn % _SUPERSEDED_TURNS == 0:
                    self.superseded = await self._accepted.superseded()
            self.refused = ""
            self._say("")
        except (port.LogError, TimeoutError) as error:
            self._say(f"the log can't be reached: {error or 'no answer in time'}")
            self.refused = await self._refusal()

    def _say(self, why: str) -> None:
        if bool(why) != bool(self.away):
            _log.warning("log_away", why=why) if why else _log.info("log_back")
        self.away = why


class Outlook:
    """Of one process. `live` runs on its event loop; the questions may come from any thread."""

    def __init__(self, waits: waiting.Waiting) -> None:
        self._waiting = waits
        self.started = self.ending = self.drained = False
        self.told = ""
        """The lifecycle that somebody has asked for since the start."""
        self._watch: LogWatch | None = None
        self._doors: doors.Doors | None = None
        self._alive_at = time.monotonic()

    def doors_over(self, opened: doors.Doors, watch: LogWatch) -> None:
        """There are doors in this process."""
        self._doors, self._watch = opened, watch

    async def live(self) -> None:
        """Until cancelled."""
        while True:
            self._alive_at = time.monotonic()
            if self._watch and self._watch.superseded and self._doors and not self._doors.refuses:
                _log.error("superseded", why=self._watch.superseded)
                await self._doors.drain()
            await asyncio.sleep(1.0)

    def why_dead(self) -> str:
        """Called by another thread, which goes on when this process's loop does not."""
        silent = time.monotonic() - self._alive_at
        return "" if silent < _SILENT_SECONDS else f"the event loop has stood still for {silent:.0f} s"

    def why_not_ready(self, lanes: lane_set.LaneSet | None) -> str:
        """Empty when it is."""
        if self.ending:
            return "Drained" if self.drained else "Draining"
        if not self.started:
            waits = [self._waiting.why, *(f"{sink}: {why}" for sink, why in (lanes.waiting if lanes else {}).items())]
            return "Starting" + "".join(f"; waits for {why}" for why in filter(None, waits))
        if self._watch and (why := self._watch.superseded or self._watch.away):
            return why
        waiting_for = lanes.not_ready() if lanes else ""
        return f"no partitions have been assigned yet: {waiting_for}" if waiting_for else ""

    def lifecycle(self, wanted: str, lanes: lane_set.LaneSet | None) -> str:
        """As a status says it. `wanted`: by the pipeline object."""
        if not self.started:
            return "Starting"
        if self.ending:
            return "Drained" if self.drained else "Draining"
        now = self.told or wanted
        if now == "Draining" and (lanes is None or not lanes.groups or lanes.drained):
            return "Drained"
        return now
