"""What the pipeline's log in Kafka holds: dead letters, how far each lane has committed, and which events lie below that."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import msgspec
import numpy as np

from e2e.chaos.kafka import stream
from e2e.checker import columns
from penstock.core import blocks, dialects, markers
from penstock.log import port
from penstock.log.kafka import front
from penstock.log.kafka import settings as kafka_settings

_READ_BYTES = 4 << 20
_HASTE_SECONDS = 3.0
_NONE = np.zeros(0, np.int64)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """Of one partition: the events that a lane has not finished, and the offset behind them."""

    numbers: columns.Numbers
    end: int


class Logbook:
    """A reader of its own; nothing it does is seen by the pipeline."""

    def __init__(self, settings: kafka_settings.Settings, lane: str) -> None:
        """`lane` begins the names of the lanes, which end with their sink's."""
        self._settings, self._lane = settings, lane
        self._read: dict[int, int] = {}
        self._numbers: dict[int, list[tuple[int, columns.Numbers]]] = {}

    @contextlib.asynccontextmanager
    async def _opened(self, settings: kafka_settings.Settings | None = None) -> AsyncIterator[front.KafkaLog]:
        log = await front.KafkaLog.open(settings or self._settings)
        try:
            yield log
        finally:
            await log.close()

    def lag(self, sink: str) -> int:
        """Blocks that the sink's lane has not committed. Raises LogError while the brokers are away."""
        return asyncio.run(self._lag(sink))

    async def _lag(self, sink: str) -> int:
        async with self._opened() as log:
            committed = await log.committed(port.EVENTS, f"{self._lane}/{sink}")
            ends = [(await log.bounds(port.EVENTS, partition)).end for partition in range(log.partitions)]
        return sum(end - (committed[partition].offset if partition in committed else 0) for partition, end in enumerate(ends))

    def commits(self, sink: str) -> dict[int, port.Commit]:
        """The lane's commits as they are now, by partition."""

        async def ask() -> dict[int, port.Commit]:
            async with self._opened() as log:
                return dict(await log.committed(port.EVENTS, f"{self._lane}/{sink}"))

        return asyncio.run(ask())

    def put_back(self, sink: str, commits: dict[int, port.Commit]) -> None:
        """Commit what was committed earlier, as an operator who resets offsets does; nobody else may be in the group."""

        async def put() -> None:
            async with self._opened() as log:
                subscription = await log.subscribe(port.EVENTS, f"{self._lane}/{sink}", _Nobody())
                await subscription.poll(max_bytes=1, timeout_seconds=10.0)
                await subscription.commit(commits)
                await subscription.close()

        asyncio.run(put())

    def committed_numbers(self, sink: str) -> columns.Numbers:
        """The events that the lane says it has finished."""
        return asyncio.run(self._committed_numbers(sink))

    async def _committed_numbers(self, sink: str) -> columns.Numbers:
        async with self._opened() as log:
            commits = await log.committed(port.EVENTS, f"{self._lane}/{sink}")
            for partition, commit in commits.items():
                known = self._numbers.setdefault(partition, [])
                async for record in _records(log, port.EVENTS, partition, self._read.get(partition, 0)):
                    if record.offset >= commit.offset:
                        break
                    column = blocks.decode(record.value, record.headers, columns=["number"]).column("number")
                    known.append((record.offset, column.to_numpy()))
                    self._read[partition] = record.offset + 1
        below = [
            numbers for partition, commit in commits.items() for at, numbers in self._numbers[partition] if at < commit.offset
        ]
        return np.concatenate([_NONE, *below])

    def unread(self, sink: str) -> dict[int, Unread]:
        """What lies behind the lane's commits, by partition."""

        async def ask() -> dict[int, Unread]:
            found = {}
            async with self._opened() as log:
                commits = await log.committed(port.EVENTS, f"{self._lane}/{sink}")
                for partition in range(log.partitions):
                    begin = commits[partition].offset if partition in commits else 0
                    records = [record async for record in _records(log, port.EVENTS, partition, begin)]
                    numbers = [blocks.decode(one.value, one.headers, columns=["number"]).column("number") for one in records]
                    end = records[-1].offset + 1 if records else begin
                    found[partition] = Unread(numbers=np.concatenate([_NONE, *(one.to_numpy() for one in numbers)]), end=end)
            return found

        return asyncio.run(ask())

    def letters_ends(self) -> dict[int, int]:
        """Where each partition of the dead-letter topic ends. Raises LogError while the brokers are away.

        A leader that is new, and has fewer copies in sync than the topic wants, does not know what is certain of its tail, and
        names no end: such a partition is left out.
        """
        hasty = dataclasses.replace(self._settings.patience, delivery=_HASTE_SECONDS)

        async def end(log: front.KafkaLog, partition: int) -> dict[int, int]:
            with contextlib.suppress(port.LogError):
                return {partition: (await log.bounds(port.DEAD_LETTERS, partition)).end}
            return {}

        async def ask() -> dict[int, int]:
            async with self._opened(dataclasses.replace(self._settings, patience=hasty)) as log:
                found = await asyncio.gather(*(end(log, partition) for partition in range(log.partitions)))
            return {partition: at for one in found for partition, at in one.items()}

        return asyncio.run(ask())

    def letters(self, mix: stream.Mix) -> dict[str, columns.Letters]:
        """Every letter by its sink, also equal ones. Markers are none."""
        return asyncio.run(self._letters(mix))

    async def _letters(self, mix: stream.Mix) -> dict[str, columns.Letters]:
        found: dict[str, list[tuple[str, int, int, bytes]]] = {}
        async with self._opened() as log:
            for partition in range(log.partitions):
                async for record in _records(log, port.DEAD_LETTERS, partition, 0):
                    if not markers.is_marker(record.headers):
                        letter = dialects.decode(record.value, record.headers)
                        entry = (letter.id, _number(letter.original), _bits(letter.items), letter.original)
                        found.setdefault(letter.sink, []).append(entry)
        return {sink: _arrays(entries, mix) for sink, entries in found.items()}


class _Nobody:
    """Asks for nothing and gives nothing up."""

    async def on_assigned(self, commits: object) -> None: ...

    async def on_revoked(self, partitions: object) -> None: ...


def no_letters() -> columns.Letters:
    """Of a sink that has none."""
    return _arrays([], stream.Mix())


def _arrays(entries: list[tuple[str, int, int, bytes]], mix: stream.Mix) -> columns.Letters:
    numbers = np.array([number for _, number, _, _ in entries], dtype=np.int64)
    wanted = stream.payloads(stream.of(np.maximum(numbers, 0), mix))
    return columns.Letters(
        letter=[letter for letter, _, _, _ in entries],
        number=numbers,
        bits=np.array([bits for _, _, bits, _ in entries], dtype=np.uint8),
        good=np.array([original == sent for (_, _, _, original), sent in zip(entries, wanted, strict=True)], dtype=np.bool_),
    )


def _number(original: bytes) -> int:
    try:
        return int(msgspec.json.decode(original)["number"])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return -1


def _bits(items: tuple[int, ...]) -> int:
    return sum(1 << item for item in items) if items else columns.WHOLE


async def _records(log: port.EventLog, topic: str, partition: int, offset: int) -> AsyncIterator[port.Record]:
    end = (await log.bounds(topic, partition)).end
    while offset < end:
        found = await log.read(topic, partition, offset, max_bytes=_READ_BYTES)
        if not found:
            return
        for record in found:
            yield record
            offset = record.offset + 1
