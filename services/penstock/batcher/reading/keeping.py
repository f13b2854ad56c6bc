"""Snapshots of a lane's key state: taken where a block ends, written down when everything below has been finished.

One is taken when so many events, or blocks, have been read since the last that its cost is lost among theirs; what is read
again after a crash is about as much. Nothing here runs for a lane without state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import structlog

from penstock.batcher import settings as lane_settings
from penstock.batcher.reading import recall
from penstock.core.state import snapshot, table
from penstock.log import port
from penstock.telemetry import metrics

_log = structlog.get_logger()

_EVENTS_PER_KEY = 4
_KEYS_PER_BLOCK = 100
_BLOCKS = 2_000


@dataclasses.dataclass(slots=True)
class _Kept:
    """Of one partition: the offset of the last one written, what was read since the last one taken, and that one itself."""

    saved: int
    events: int = 0
    blocks: int = 0
    taken: port.Snapshot | None = None


class Keeper:
    """Used from the lane's event loop only."""

    def __init__(
        self,
        settings: lane_settings.LaneSettings,
        log: port.EventLog,
        key_types: tuple[str, ...],
        on_worker: recall.OnWorker,
    ) -> None:
        self._settings, self._log, self._key_types, self._on_worker = settings, log, key_types, on_worker
        self._judging = recall.as_judging(settings.deduplicate)
        self._kept: dict[int, _Kept] = {}

    async def begin(self, partition: int, offset: int, recalled: recall.Recalled) -> None:
        """A partition was assigned and goes on at `offset`, knowing this. Without state, what was kept of it is forgotten."""
        group, memory = self._settings.lane, recalled.memory
        if memory.keyed is None:
            await self._log.forget_snapshots(port.EVENTS, group, partition)
            return
        if recalled.anew:
            await self._log.save_snapshot(port.EVENTS, group, partition, await self._take(offset, memory.keyed))
        saved = await self._log.snapshot_offsets(port.EVENTS, group, partition)
        read = (0, 0) if recalled.anew else (memory.events, memory.blocks)
        self._kept[partition] = _Kept(saved=saved[0], events=read[0], blocks=read[1])

    def end(self, partition: int) -> None:
        """The partition was revoked."""
        self._kept.pop(partition, None)

    async def read(self, partition: int, *, offset: int, blocks: int, events: int, known: table.StateTable | None) -> None:
        """Blocks up to `offset` were judged, and nothing after them yet."""
        kept = self._kept.get(partition)
        if kept is None or known is None:
            return
        kept.events, kept.blocks = kept.events + events, kept.blocks + blocks
        most_events = max(self._settings.snapshot_events, known.keys * _EVENTS_PER_KEY)
        most_blocks = max(_BLOCKS, known.keys // _KEYS_PER_BLOCK)
        if kept.taken is None and (kept.events >= most_events or kept.blocks >= most_blocks):
            kept.taken = await self._take(offset, known)
            kept.events = kept.blocks = 0

    async def save(self, positions: Mapping[int, int], committed: Mapping[int, int]) -> None:
        """Before `positions` are committed; `committed` is what is durable. Two are kept, so one of them always serves."""
        for partition, kept in self._kept.items():
            taken = kept.taken
            if taken is None or taken.offset > positions.get(partition, -1) or kept.saved > committed.get(partition, -1):
                continue
            try:
                await self._log.save_snapshot(port.EVENTS, self._settings.lane, partition, taken)
            except port.LogFullError as error:
                # The one before still serves; more of the log is read again from there, and none of that is trimmed.
                _log.warning("snapshot_waits", sink=self._settings.sink, error=str(error))
                continue
            kept.saved, kept.taken = taken.offset, None
            metrics.STATE_SNAPSHOT_BYTES.labels(**self._settings.labels).observe(len(taken.content))

    async def _take(self, offset: int, known: table.StateTable) -> port.Snapshot:
        content = await self._on_worker(snapshot.encode, known, self._key_types, self._judging)
        return port.Snapshot(offset=offset, content=content)
