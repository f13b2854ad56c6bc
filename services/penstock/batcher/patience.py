"""A lane's log while its brokers are away: what the lane must know before it goes on is asked again until there is an answer.

Polls and commits are not here: the lane goes on around those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

import structlog

from penstock.core import lineage
from penstock.log import port

P = ParamSpec("P")
R = TypeVar("R")

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0

_log = structlog.get_logger()


class PatientLog:
    """`port.EventLog` over another one. Raises LogUnavailableError from `subscribe` alone."""

    def __init__(self, log: port.EventLog) -> None:
        self._log = log

    @property
    def log_id(self) -> str:
        return self._log.log_id

    @property
    def known_as(self) -> lineage.Lineage:
        return self._log.known_as

    @property
    def partitions(self) -> int:
        return self._log.partitions

    async def append(self, topic: str, partition: int, record: port.NewRecord) -> port.Appended:
        return await _patiently(self._log.append, topic, partition, record)

    async def subscribe(self, topic: str, group: str, listener: port.AssignmentListener) -> port.Subscription:
        return await self._log.subscribe(topic, group, listener)

    async def read(self, topic: str, partition: int, offset: int, *, max_bytes: int) -> Sequence[port.Record]:
        return await _patiently(self._log.read, topic, partition, offset, max_bytes=max_bytes)

    async def headers(self, topic: str, partition: int, before: int, *, limit: int) -> Sequence[port.Record]:
        return await _patiently(self._log.headers, topic, partition, before, limit=limit)

    async def damaged(self, topic: str, partition: int, start: int, end: int) -> Sequence[port.Damaged]:
        return await _patiently(self._log.damaged, topic, partition, start, end)

    async def bounds(self, topic: str, partition: int) -> port.Bounds:
        return await _patiently(self._log.bounds, topic, partition)

    async def committed(self, topic: str, group: str) -> Mapping[int, port.Commit]:
        return await _patiently(self._log.committed, topic, group)

    async def commit_for(self, topic: str, group: str, commits: Mapping[int, port.Commit]) -> None:
        await self._log.commit_for(topic, group, commits)

    async def save_snapshot(self, topic: str, group: str, partition: int, snapshot: port.Snapshot) -> None:
        await _patiently(self._log.save_snapshot, topic, group, partition, snapshot)

    async def load_snapshot(self, topic: str, group: str, partition: int, at_most: int) -> port.Snapshot | None:
        return await _patiently(self._log.load_snapshot, topic, group, partition, at_most)

    async def snapshot_offsets(self, topic: str, group: str, partition: int) -> Sequence[int]:
        return await _patiently(self._log.snapshot_offsets, topic, group, partition)

    async def forget_snapshots(self, topic: str, group: str, partition: int) -> None:
        await _patiently(self._log.forget_snapshots, topic, group, partition)

    async def trim(self, topic: str, partition: int, before: int) -> None:
        await self._log.trim(topic, partition, before)

    async def size_bytes(self) -> int:
        return await self._log.size_bytes()

    async def close(self) -> None:
        await self._log.close()


async def _patiently(call: Callable[P, Awaitable[R]], *arguments: P.args, **named: P.kwargs) -> R:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await call(*arguments, **named)
        except port.LogUnavailableError as error:
            _log.warning("log_unavailable", during=getattr(call, "__name__", ""), error=str(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
