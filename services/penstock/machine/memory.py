"""What a pipeline's next start must know of the last one: the pipeline object that was accepted, and the lanes of removed sinks.

One process keeps it in its data directory; several keep it in the log they share, which is theirs as long as it is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from penstock.api.model import pipeline as api_pipeline
from penstock.log import port
from penstock.machine import directory

_GROUP = "accepted"
_PARTITION = 0
_ANY_OFFSET = 1 << 62


class Memory(Protocol):
    """Whoever writes last is believed. Each may raise LogError or DirectoryError."""

    async def pinned(self) -> api_pipeline.BatchPipeline | None:
        """The object that was accepted last; None before the first one."""

    async def retired(self) -> Mapping[str, int]:
        """Sinks that were removed, with the time in microseconds since the epoch."""

    async def retire(self, sinks: Mapping[str, int]) -> None:
        """Remember these, and no others."""


class InDirectory:
    """`Memory`; who runs the pipeline pins the object there, with the folder it was started in."""

    def __init__(self, data: directory.DataDirectory) -> None:
        self._data = data

    async def pinned(self) -> api_pipeline.BatchPipeline | None:
        return self._data.pinned()

    async def retired(self) -> Mapping[str, int]:
        return self._data.retired()

    async def retire(self, sinks: Mapping[str, int]) -> None:
        self._data.retire(sinks)


class _Kept(msgspec.Struct, frozen=True):
    pipeline: str
    retired: dict[str, int]


class InLog:
    """`Memory`, beside the snapshots of lanes. Two that write at the same moment have read the same file, or start again."""

    def __init__(self, log: port.EventLog, now: Callable[[], float] = time.time) -> None:
        self._log, self._now = log, now

    async def pinned(self) -> api_pipeline.BatchPipeline | None:
        kept = await self._kept()
        if kept is None or not kept.pipeline:
            return None
        try:
            return api_pipeline.BatchPipeline.model_validate_json(kept.pipeline)
        except ValueError as error:
            raise port.LogError(
                f"the pipeline object that this log was last run with can't be read by this release ({error}): run the release"
                " that was here before, or a newer one"
            ) from error

    async def pin(self, pipeline: api_pipeline.BatchPipeline, retired: Mapping[str, int]) -> None:
        """Remember the object and what it leaves behind, in one step."""
        await self._keep(_Kept(pipeline=pipeline.model_dump_json(by_alias=True, exclude_unset=True), retired=dict(retired)))

    async def retired(self) -> Mapping[str, int]:
        kept = await self._kept()
        return kept.retired if kept else {}

    async def retire(self, sinks: Mapping[str, int]) -> None:
        kept = await self._kept()
        if kept and kept.retired != sinks:
            await self._keep(_Kept(pipeline=kept.pipeline, retired=dict(sinks)))

    async def _kept(self) -> _Kept | None:
        found = await self._log.load_snapshot(port.EVENTS, _GROUP, _PARTITION, _ANY_OFFSET)
        return msgspec.json.decode(found.content, type=_Kept) if found else None

    async def _keep(self, kept: _Kept) -> None:
        # Whatever the clocks say: a snapshot of a lower offset takes the place of those above it.
        offset = int(self._now() * 1e6)
        await self._log.save_snapshot(
            port.EVENTS, _GROUP, _PARTITION, port.Snapshot(offset=offset, content=msgspec.json.encode(kept))
        )
