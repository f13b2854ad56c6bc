"""As much of an event log as counting letters needs, in memory; and the hand of everybody who writes into it."""

from __future__ import annotations

import collections
from collections.abc import Sequence

import msgspec
from tests.unit.core.dialects import letters

from penstock.core import addresses, deadletters, dialects, lineage, markers
from penstock.log import port

SECOND = 1_000_000


class Topic:
    """One partition of each topic. `clock` is the append time of what comes next, in seconds."""

    partitions, log_id = 1, "log"
    known_as = lineage.Lineage(log_id=log_id)

    def __init__(self) -> None:
        self.records: dict[str, list[port.Record]] = collections.defaultdict(list)
        self.starts: collections.Counter[str] = collections.Counter()
        self.commits: collections.Counter[tuple[str, str]] = collections.Counter()
        self.snapshots: dict[str, port.Snapshot] = {}
        self.clock = 0
        self.headers_read = 0

    async def bounds(self, topic: str, partition: int) -> port.Bounds:
        return port.Bounds(start=self.starts[topic], end=len(self.records[topic]))

    async def headers(self, topic: str, partition: int, before: int, *, limit: int) -> Sequence[port.Record]:
        found = [one for one in reversed(self.records[topic][:before]) if one.offset >= self.starts[topic]][:limit]
        self.headers_read += len(found)
        return found

    async def committed(self, topic: str, group: str) -> dict[int, port.Commit]:
        return {0: port.Commit(offset=self.commits[topic, group])}

    async def save_snapshot(self, topic: str, group: str, partition: int, snapshot: port.Snapshot) -> None:
        self.snapshots[group] = snapshot

    async def load_snapshot(self, topic: str, group: str, partition: int, at_most: int) -> port.Snapshot | None:
        return self.snapshots.get(group)

    async def trim(self, topic: str, partition: int, before: int) -> None:
        self.starts[topic] = max(self.starts[topic], before)

    def put(self, topic: str, headers: dict[str, bytes]) -> int:
        at = len(self.records[topic])
        record = port.Record(
            topic=topic,
            partition=0,
            offset=at,
            append_time_microseconds=self.clock * SECOND,
            value=b"",
            headers=headers,
            producer="p",
            sequence=at,
        )
        self.records[topic].append(record)
        return at

    def put_letter(self, letter: deadletters.DeadLetter) -> int:
        return self.put(port.DEAD_LETTERS, dialects.encode(letter)[1])

    def put_marker(self, letter: deadletters.DeadLetter, kind: markers.Kind, at: int, replay: int, *, told: bool) -> None:
        """`told`: the marker knows where its letter stands."""
        marker = markers.Marker(
            kind=kind,
            id=letter.id,
            lane=letter.lane,
            attempt=letter.attempt,
            replay_offset=replay,
            at_microseconds=0,
            category=letter.category.value if told else "",
            letter_offset=at if told else markers.NOWHERE,
        )
        self.put(port.DEAD_LETTERS, markers.encode(marker)[1])


def letter(lane: str, offset: int, items: tuple[int, ...], category: deadletters.Category) -> deadletters.DeadLetter:
    """The first letter of a unit."""
    address = addresses.Address("log", 0, addresses.Position(offset, 0))
    return letters.letter(
        id=deadletters.letter_id(address, lane, items),
        lane=lane,
        sink=lane.rpartition("/")[2],
        log_id="log",
        partition=0,
        offset=offset,
        ordinal=0,
        items=items,
        category=category,
        attempt=1,
        split_from="",
    )


def again(first: deadletters.DeadLetter, items: tuple[int, ...]) -> deadletters.DeadLetter:
    """The letter of a replay that failed, of the same unit or of one row of it."""
    same = items == first.items
    return msgspec.structs.replace(
        first,
        id=first.id if same else deadletters.row_letter_id(first.id, items),
        items=items,
        attempt=first.attempt + 1,
        split_from="" if same else first.id,
    )
