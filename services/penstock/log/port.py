"""The `EventLog` port.

Topics: `EVENTS` is the main log; `DEAD_LETTERS` holds dead letters; `OUTCOMES` what became of letters that stand in topics of
others, and which runs of replays are done; `ACCEPTED` the pipeline objects that were accepted; `replay_topic(sink)` is one
lane's replay log. All of a pipeline's topics have the same number of partitions. One record of `EVENTS` is one block
(core.blocks).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from penstock.core import lineage

EVENTS = "events"
DEAD_LETTERS = "dead-letters"
OUTCOMES = "outcomes"
ACCEPTED = "accepted"

TOPIC = "kafka-topic"
PARTITION = "kafka-partition"
"""Headers of a run: the topic it was read from, and which of its partitions."""


def replay_topic(sink: str) -> str:
    """The replay log of one lane."""
    return f"replay.{sink}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NewRecord:
    """A record to append. (producer, sequence) is its identity in its partition: sequences are gapless from 0 per partition.

    `key` is for tools that look at the log where it is in Kafka; no log reads it back.
    """

    value: bytes
    headers: Mapping[str, bytes]
    producer: str
    sequence: int
    key: bytes | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """`resent` means that this (producer, sequence) stood in the partition already, at `offset`; nothing was written."""

    offset: int
    append_time_microseconds: int
    resent: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record as read back. Append times never go backwards within a partition; 0 where nobody vouches for them.

    In a log over topics that others write, one record of `EVENTS` stands for a run of theirs: `rows` holds them as columns
    (core.records.layout), `span` says how many offsets it covers, and no producer is named.
    """

    topic: str
    partition: int
    offset: int
    append_time_microseconds: int
    value: bytes
    headers: Mapping[str, bytes]
    producer: str
    sequence: int
    span: int = 1
    rows: pa.RecordBatch | None = None

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.offset + self.span


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A record that is not what this log writes, and why."""

    offset: int
    reason: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The next offset to read and what must be remembered with it (at most 3,500 bytes of UTF-8)."""

    offset: int
    metadata: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a group remembers of the records below `offset` beyond what fits a commit."""

    offset: int
    content: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """First offset still in the partition, and the offset the next record will get."""

    start: int
    end: int


class LogError(Exception):
    """The log could not do it; the message names what and the remedy."""


class LogFullError(LogError):
    """`retention.maxBytes` is reached or the disk is full: nothing was written; ingest refuses until there is room."""


class LogUnavailableError(LogError):
    """The log does not answer now, as while its brokers are away; the same call may work later."""


class LogLockedError(LogError):
    """Another process writes this log."""


class DamagedLogError(LogError):
    """A record is not what was written. The lane stops until a person mends it; it is never a dead letter."""


class OffsetOutOfRangeError(LogError):
    """What was asked for is no longer, or not yet, in the log: a gap. The lane stops until a person says skip."""


class PartitionLostError(LogError):
    """A commit came too late: another member of the group owns the partition now, and reads on from the last commit."""


class GroupInUseError(LogError):
    """The group has members: only they may commit for it."""


class AssignmentListener(Protocol):
    """Told which partitions a subscription owns. Both are awaited by the log before the next poll returns records."""

    async def on_assigned(self, commits: Mapping[int, Commit | None]) -> None:
        """Partitions gained, each with its group's last commit (None: the group never committed there).

        What fails or is cancelled half-way is told again by the next poll; where the group can move, it is revoked before.
        So `on_revoked` may name partitions that this has not come to yet.
        """

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """Partitions lost: finish or drop what is in flight, within a bound. May commit.

        A member loses all of its partitions at once, and is told anew which ones it has.
        """


class Subscription(Protocol):
    """One member of one group on one topic. Everything but `commit` is called from one task; nothing after `close`.

    A `poll` that is cancelled loses no record, and goes on with the next one.
    """

    async def poll(self, *, max_bytes: int, timeout_seconds: float) -> Sequence[Record]:
        """Next records of the partitions that are assigned and not paused, in offset order per partition.

        At least one record when there is any, even one over `max_bytes`; empty after the time-out. Each record is given
        once per assignment. Raises OffsetOutOfRangeError on a gap.
        """

    def pause(self, partitions: Sequence[int]) -> None:
        """Stop giving records of these until `resume` or until they are revoked; membership is kept by polling on."""

    def resume(self, partitions: Sequence[int]) -> None: ...

    def seek(self, partition: int, offset: int) -> None:
        """Go on from `offset`; used for the start of a lane that never committed, and by skip."""

    async def commit(self, commits: Mapping[int, Commit]) -> None:
        """Durable on return. Offset and metadata change together or not at all.

        For what the listener was told last, also within `on_revoked`; before anything was told, for what the group gives now.
        May run beside a poll. Raises PartitionLostError when the group has gone on, LogUnavailableError when that is unknown.
        """

    async def close(self) -> None: ...


class EventLog(Protocol):
    """A durable log. Implementations are crash-safe: what `append` and `commit` returned from survives kill -9 and power loss."""

    @property
    def log_id(self) -> str:
        """Identity of this log's data; a recreated log has another one."""

    @property
    def known_as(self) -> lineage.Lineage:
        """`log_id`, and the ids that the log had before it was given this one."""

    @property
    def partitions(self) -> int: ...

    async def append(self, topic: str, partition: int, record: NewRecord) -> Appended:
        """Return when the record is durable. Concurrent appends share one flush. Raises LogFullError, LogError.

        After LogUnavailableError or when it is cancelled the outcome is unknown: the same append again tells it. A record
        can then stand twice; whoever reads knows the second one by its producer and sequence.
        """

    async def subscribe(self, topic: str, group: str, listener: AssignmentListener) -> Subscription: ...

    async def read(self, topic: str, partition: int, offset: int, *, max_bytes: int) -> Sequence[Record]:
        """Records from `offset` on, without a group; at least one if there is any. For rebuilds, `where` and dead letters."""

    async def headers(self, topic: str, partition: int, before: int, *, limit: int) -> Sequence[Record]:
        """Up to `limit` records below offset `before`, newest first, with empty values: a cheap way back through the log.

        Damaged ones are left out. Values are not looked at, so `read` may find a record damaged all the same.
        """

    async def damaged(self, topic: str, partition: int, start: int, end: int) -> Sequence[Damaged]:
        """What `headers` leaves out of [start, end), in order. Not every offset that is missing there was a record."""

    async def bounds(self, topic: str, partition: int) -> Bounds: ...

    async def committed(self, topic: str, group: str) -> Mapping[int, Commit]: ...

    async def commit_for(self, topic: str, group: str, commits: Mapping[int, Commit]) -> None:
        """Commit for a group that nobody reads as, durable on return. Raises GroupInUseError when somebody does."""

    async def save_snapshot(self, topic: str, group: str, partition: int, snapshot: Snapshot) -> None:
        """Durable on return. Those of higher offsets are forgotten; of the others, the newest and this one are kept.

        So the caller saves a new one only when the last one lies at or below its committed offset. Raises LogFullError.
        """

    async def load_snapshot(self, topic: str, group: str, partition: int, at_most: int) -> Snapshot | None:
        """The newest at or below the offset `at_most`."""

    async def snapshot_offsets(self, topic: str, group: str, partition: int) -> Sequence[int]:
        """Of those that are kept, newest first; at most two."""

    async def forget_snapshots(self, topic: str, group: str, partition: int) -> None:
        """Durable on return."""

    async def trim(self, topic: str, partition: int, before: int) -> None:
        """Delete records below `before`. The caller proves that every group has read and finished them."""

    async def size_bytes(self) -> int: ...

    async def close(self) -> None: ...
