"""What lanes remember beyond their commits, in one compacted topic: a group's snapshots of a partition lie in that partition.

A snapshot is cut into parts that fit a record; the last one makes it whole. What counts is worked out by reading in order (a
later snapshot of a lower offset takes the place of those above), so nothing depends on a deletion having got through: those
are for compaction alone.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import AsyncIterator, Iterator

import msgspec

from penstock.log import port
from penstock.log.kafka import client as kafka_client
from penstock.log.kafka import producer as kafka_producer
from penstock.log.kafka import settings as kafka_settings

TOPIC = "snapshots"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose snapshots."""

    topic: str
    group: str
    partition: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One record of the topic. `value` None deletes."""

    key: bytes
    value: bytes | None


class _Key(msgspec.Struct, frozen=True, array_like=True):
    topic: str
    group: str
    partition: int
    offset: int
    part: int


class _Part(msgspec.Struct, frozen=True, array_like=True):
    """`save` is another one each time the same snapshot is saved."""

    save: str
    parts: int
    content: bytes


class History:
    """What a place's records say, read in order."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._parts: dict[int, dict[int, _Part]] = {}
        self._whole: dict[int, bytes] = {}

    @property
    def kept(self) -> list[port.Snapshot]:
        """Newest first, at most two."""
        return [port.Snapshot(offset=offset, content=self._whole[offset]) for offset in sorted(self._whole, reverse=True)]

    def add(self, entry: Entry) -> None:
        """What somebody else has written is passed: a snapshot that is not whole is made anew from the log."""
        try:
            key = msgspec.msgpack.decode(entry.key, type=_Key)
            part = None if entry.value is None else msgspec.msgpack.decode(entry.value, type=_Part)
        except msgspec.MsgspecError:
            return
        if Place(topic=key.topic, group=key.group, partition=key.partition) != self._place:
            return
        self._whole.pop(key.offset, None)
        parts = self._parts.setdefault(key.offset, {})
        if part is None:
            parts.pop(key.part, None)
            return
        parts[key.part] = part
        mine = [parts.get(number) for number in range(part.parts)]
        whole = [item.content for item in mine if item and item.save == part.save]
        if key.part == part.parts - 1 and len(whole) == part.parts:
            below = {offset: content for offset, content in self._whole.items() if offset < key.offset}
            highest = max(below, default=None)
            self._whole = {} if highest is None else {highest: below[highest]}
            self._whole[key.offset] = b"".join(whole)

    def leftovers(self) -> Iterator[tuple[int, int]]:
        """Offset and part of everything that counts no more."""
        for offset, parts in self._parts.items():
            if offset not in self._whole:
                yield from ((offset, part) for part in parts)


class Snapshots:
    """Over the topic called `name`."""

    def __init__(self, name: str, client: kafka_client.Client, producer: kafka_producer.Producer) -> None:
        self._name = name
        self._client = client
        self._producer = producer

    async def save(self, place: Place, snapshot: port.Snapshot) -> None:
        pieces = list(cut(snapshot.content, kafka_settings.RECORD_BYTES))
        save = uuid.uuid4().hex
        for number, content in enumerate(pieces):
            part = msgspec.msgpack.encode(_Part(save, len(pieces), content))
            await self._put(place, snapshot.offset, number, part)
        await self._clean(place, await self.history(place))

    async def forget(self, place: Place) -> None:
        history = await self.history(place)
        for snapshot in history.kept:
            await self._put(place, snapshot.offset, 0, None)
        await self._clean(place, await self.history(place))

    async def history(self, place: Place) -> History:
        history = History(place)
        async for entry in self._entries(place.partition):
            history.add(entry)
        return history

    async def _clean(self, place: Place, history: History) -> None:
        for offset, part in list(history.leftovers()):
            await self._put(place, offset, part, None)

    async def _put(self, place: Place, offset: int, part: int, value: bytes | None) -> None:
        key = msgspec.msgpack.encode(_Key(place.topic, place.group, place.partition, offset, part))
        await self._producer.put(self._name, place.partition, key, value)

    async def _entries(self, partition: int) -> AsyncIterator[Entry]:
        offset = (await self._client.bounds(self._name, partition)).start
        while True:
            found, following = await self._client.fetch_keyed(self._name, partition, offset)
            for key, value in found:
                yield Entry(key=key, value=value)
            if following == offset:
                return
            offset = following


def cut(content: bytes, most: int) -> Iterator[bytes]:
    """Pieces of at most `most` bytes; an empty content is one empty piece."""
    for start in range(0, max(len(content), 1), most):
        yield content[start : start + most]
