"""Reading an embedded log: its dead letters, and which events stand below a lane's committed offset.

Read-only, so it works beside the process that writes the log, and after that process was killed.
"""

from __future__ import annotations

import pathlib
from collections.abc import AsyncIterator

import msgspec

from e2e.checker import found, history
from penstock.core import blocks, deadletters, dialects, markers
from penstock.log import port
from penstock.log.embedded import front as embedded

_READ_BYTES = 4 << 20
_DAMAGED = "(not readable)"


async def letters(path: pathlib.Path) -> list[found.Letter]:
    """Every letter, also equal ones, in the order of the log. Markers are none."""
    log = await embedded.EmbeddedLog.open(path, read_only=True)
    try:
        return [
            _letter(dialects.decode(record.value, record.headers))
            for partition in range(log.partitions)
            async for record in _records(log, port.DEAD_LETTERS, partition, 0)
            if not markers.is_marker(record.headers)
        ]
    finally:
        await log.close()


def _letter(letter: deadletters.DeadLetter) -> found.Letter:
    return found.Letter(
        letter=letter.id,
        sink=letter.sink,
        id=_id(letter.original),
        sha=history.sha(letter.original),
        places=tuple(map(str, letter.items)) or (history.WHOLE,),
        attempt=letter.attempt,
    )


def _id(original: bytes) -> str:
    try:
        return str(msgspec.json.decode(original)["id"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return _DAMAGED


class Committed:
    """Ids below the committed offsets of lanes; each block is read once however often it is asked."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._read: dict[int, int] = {}
        self._ids: dict[int, list[tuple[int, str]]] = {}

    async def ids(self, lane: str) -> frozenset[str]:
        """The events that this lane says it has finished."""
        log = await embedded.EmbeddedLog.open(self._path, read_only=True)
        try:
            commits = await log.committed(port.EVENTS, lane)
            for partition, commit in commits.items():
                await self._catch_up(log, partition, commit.offset)
            return frozenset(
                id_ for partition, commit in commits.items() for offset, id_ in self._ids[partition] if offset < commit.offset
            )
        finally:
            await log.close()

    async def _catch_up(self, log: port.EventLog, partition: int, end: int) -> None:
        known = self._ids.setdefault(partition, [])
        async for record in _records(log, port.EVENTS, partition, self._read.get(partition, 0)):
            if record.offset >= end:
                break
            for id_ in blocks.decode(record.value, record.headers, columns=["id"]).column("id").to_pylist():
                known.append((record.offset, id_))
            self._read[partition] = record.offset + 1


async def _records(log: port.EventLog, topic: str, partition: int, offset: int) -> AsyncIterator[port.Record]:
    end = (await log.bounds(topic, partition)).end
    while offset < end:
        for record in await log.read(topic, partition, offset, max_bytes=_READ_BYTES):
            yield record
            offset = record.offset + 1
