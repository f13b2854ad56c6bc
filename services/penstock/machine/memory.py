"""What a pipeline's next start must know of the last one: the pipeline object that was accepted, and the lanes of removed sinks.

One process keeps it in its data directory; several keep it in the log they share, which is theirs as long as it is there.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from typing import Protocol

import msgspec

from penstock.api.model import pipeline as api_pipeline
from penstock.log import port
from penstock.machine import directory

_GROUP = "accepted"
_PARTITION = 0
_ANY_OFFSET = 1 << 62
_READ_BYTES = 4 << 20
_TRIES = 100


class Memory(Protocol):
    """Each may raise LogError or DirectoryError."""

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
    """`base` is the version that this one was written over: it counts only if that was the newest then."""

    pipeline: str = ""
    retired: dict[str, int] = {}
    base: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What is remembered, and how often that has changed."""

    number: int
    pipeline: api_pipeline.BatchPipeline | None
    retired: Mapping[str, int]


class InLog:
    """`Memory`, as a topic of versions. The order of the log decides between two that are written over the same one: the first
    counts, the other is as if it had never been written."""

    def __init__(self, log: port.EventLog) -> None:
        self._log = log

    async def newest(self) -> Version:
        """Raises LogError, also for an object that this release can't read."""
        kept, number = await self._kept()
        return Version(number=number, pipeline=_parsed(kept.pipeline), retired=kept.retired)

    async def pinned(self) -> api_pipeline.BatchPipeline | None:
        return (await self.newest()).pipeline

    async def replace(self, known: Version, pipeline: api_pipeline.BatchPipeline, retired: Mapping[str, int]) -> bool:
        """Remember the object and what it leaves behind, unless something else has been remembered since `known`: then False."""
        text = pipeline.model_dump_json(by_alias=True, exclude_unset=True)
        return await self._append(_Kept(pipeline=text, retired=dict(retired), base=known.number))

    async def retired(self) -> Mapping[str, int]:
        return (await self._kept())[0].retired

    async def retire(self, sinks: Mapping[str, int]) -> None:
        for _ in range(_TRIES):
            kept, number = await self._kept()
            if kept.retired == sinks or not kept.pipeline:
                return
            if await self._append(msgspec.structs.replace(kept, retired=dict(sinks), base=number)):
                return
        raise port.LogUnavailableError("what this log remembers of its pipeline changes all the time; try again")

    async def _kept(self) -> tuple[_Kept, int]:
        """The newest version and its number; 0 is what a former release has left, or nothing."""
        before = await self._log.load_snapshot(port.EVENTS, _GROUP, _PARTITION, _ANY_OFFSET)
        kept, number = msgspec.json.decode(before.content, type=_Kept) if before else _Kept(), 0
        for record in await self._records():
            claim = msgspec.json.decode(record.value, type=_Kept)
            if claim.base == number:
                kept, number = claim, number + 1
        return kept, number

    async def _records(self) -> list[port.Record]:
        found: list[port.Record] = []
        bounds = await self._log.bounds(port.ACCEPTED, _PARTITION)
        offset = bounds.start
        while offset < bounds.end and (more := await self._log.read(port.ACCEPTED, _PARTITION, offset, max_bytes=_READ_BYTES)):
            found += more
            offset = more[-1].end
        return found

    async def _append(self, claim: _Kept) -> bool:
        """Whether it counts."""
        token = f"accepted-{secrets.token_hex(8)}"
        new = port.NewRecord(value=msgspec.json.encode(claim), headers={}, producer=token, sequence=0)
        await self._log.append(port.ACCEPTED, _PARTITION, new)
        number, first = 0, ""
        for record in await self._records():
            if msgspec.json.decode(record.value, type=_Kept).base == number:
                number, first = number + 1, record.producer
                if number == claim.base + 1:
                    break
        return first == token and number == claim.base + 1


def _parsed(text: str) -> api_pipeline.BatchPipeline | None:
    if not text:
        return None
    try:
        return api_pipeline.BatchPipeline.model_validate_json(text)
    except ValueError as error:
        raise port.LogError(
            f"the pipeline object that this log was last run with can't be read by this release ({error}): run the release"
            " that was here before, or a newer one"
        ) from error
