"""Everything that changes an embedded log, as plain functions inside one transaction: no thread, no loop, no clock of its own.

The writer (log.embedded_writer) opens a transaction, calls `apply` for each operation that was waiting and commits once. A
refused operation has changed nothing, so its neighbours in the transaction stand.
"""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import sqlite3
import time
import uuid
import zlib
from collections.abc import Callable, Mapping

import msgspec

from penstock.log import port
from penstock.log.embedded import schema as embedded_schema

METADATA_BYTES = 3_500

_TRIM_RECORDS = 1_000
_TRIM_BYTES = 32 << 20
_PRODUCER_QUIET_MICROSECONDS = 3_600 * 1_000_000
# What must stay free on the disk, so that commits and trims can still be written when appends no longer can.
_RESERVE_BYTES = 32 << 20
_RECORD_OVERHEAD_BYTES = 512
_LETTERS_RESERVE_BYTES = 64 << 20
# The file shrinks once this much of it, and half of it, is free pages; less is kept for the next appends.
_SPARE_BYTES = 64 << 20
_SHRINK_PAGES = 512
_SNAPSHOTS = 2


def _free_bytes(directory: pathlib.Path) -> int:
    return shutil.disk_usage(directory).free


def _new_id() -> str:
    return uuid.uuid4().hex


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the log takes from the machine: clocks (nanoseconds), room on a directory's disk (bytes), fresh ids."""

    wall_nanoseconds: Callable[[], int] = time.time_ns
    monotonic_nanoseconds: Callable[[], int] = time.monotonic_ns
    free_bytes: Callable[[pathlib.Path], int] = _free_bytes
    new_id: Callable[[], str] = _new_id


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    topic: str
    partition: int
    record: port.NewRecord


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CommitGroup:
    topic: str
    group: str
    commits: Mapping[int, port.Commit]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trim:
    topic: str
    partition: int
    before: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shrink:
    """Give free pages back to the file system, if they are many."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SaveSnapshot:
    """None as `snapshot` forgets those that are kept."""

    topic: str
    group: str
    partition: int
    snapshot: port.Snapshot | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Grow:
    """As many partitions from now on."""

    partitions: int


Operation = Append | CommitGroup | Trim | Shrink | SaveSnapshot | Grow


@dataclasses.dataclass(frozen=True, slots=True)
class Unfinished:
    """A step was done and more is left: apply the same operation again, after others had their turn."""


Outcome = port.Appended | Unfinished | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Partition:
    id: int
    start: int
    end: int


class Store:
    """The writing connection's tables. One thread at a time."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: pathlib.Path,
        *,
        partitions: int,
        max_bytes: int | None,
        host: Host,
    ) -> None:
        self._connection = connection
        self._directory = path.parent
        self._partitions = partitions
        self._max_bytes = max_bytes
        self._host = host
        self._started_nanoseconds = host.monotonic_nanoseconds()
        (last,) = connection.execute("SELECT coalesce(max(append_time), 0) FROM partition").fetchone()
        self._base_microseconds: int = max(last, host.wall_nanoseconds() // 1_000)
        self._page_bytes = self._pragma("page_size")

    def begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Durable on return."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def apply(self, operation: Operation) -> Outcome:
        """Do one operation, or one step of it, in the open transaction.

        LogError: refused, nothing was changed. sqlite3.Error: the whole transaction is to be rolled back.
        """
        match operation:
            case Append():
                return self._append(operation)
            case CommitGroup():
                self._commit_group(operation)
                return None
            case Trim():
                return self._trim(operation)
            case SaveSnapshot():
                self._save_snapshot(operation)
                return None
            case Shrink():
                return self._shrink()
            case Grow():
                self._connection.execute("UPDATE log SET content = ? WHERE name = 'partitions'", (operation.partitions,))
                self._partitions = operation.partitions
                return None

    def _append(self, operation: Append) -> port.Appended:
        record = operation.record
        partition = self._partition(operation.topic, operation.partition)
        producer = self._connection.execute(
            "SELECT id, sequence, append_time FROM producer WHERE partition_id = ? AND name = ?", (partition.id, record.producer)
        ).fetchone()
        producer_id, last_sequence, last_time = producer or (None, -1, 0)
        if producer and 0 <= record.sequence <= last_sequence:
            return self._resent(producer[0], record.sequence, last_time)
        # Room first: who sent several sequences at once should hear the reason of the first refusal with each, not a gap.
        self._make_room(operation.topic, len(record.value))
        if record.sequence != last_sequence + 1:
            raise port.LogError(_gap(operation, last_sequence))
        return self._write(partition, producer_id, record)

    def _resent(self, producer_id: int, sequence: int, last_time: int) -> port.Appended:
        stands = self._connection.execute(
            "SELECT offset, append_time FROM record WHERE producer_id = ? AND sequence = ?", (producer_id, sequence)
        ).fetchone()
        # Trimmed since: it was read and finished by all, and where it stood is no longer known.
        offset, append_time = stands or (-1, last_time)
        return port.Appended(offset=offset, append_time_microseconds=append_time, resent=True)

    def _write(self, partition: _Partition, producer_id: int | None, record: port.NewRecord) -> port.Appended:
        execute = self._connection.execute
        now = self._now()
        if producer_id is None:
            new = execute(
                "INSERT INTO producer (partition_id, name, sequence, append_time) VALUES (?, ?, ?, ?)",
                (partition.id, record.producer, record.sequence, now),
            )
            producer_id = new.lastrowid
        else:
            execute("UPDATE producer SET sequence = ?, append_time = ? WHERE id = ?", (record.sequence, now, producer_id))
        value_id = execute("INSERT INTO value (content) VALUES (?)", (record.value,)).lastrowid
        headers = msgspec.msgpack.encode(dict(record.headers))
        execute(
            "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                partition.id,
                partition.end,
                now,
                producer_id,
                record.sequence,
                headers,
                value_id,
                len(record.value),
                checksum(record.value, headers),
            ),
        )
        execute("UPDATE partition SET end_offset = ?, append_time = ? WHERE id = ?", (partition.end + 1, now, partition.id))
        return port.Appended(offset=partition.end, append_time_microseconds=now)

    def _make_room(self, topic: str, value_bytes: int) -> None:
        needed = value_bytes + _RECORD_OVERHEAD_BYTES
        if self._max_bytes is not None:
            used = (self._pragma("page_count") - self._pragma("freelist_count")) * self._page_bytes
            # A full log must still take the letters without which what fills it can't be finished and trimmed.
            most = self._max_bytes + (0 if topic == port.EVENTS else _LETTERS_RESERVE_BYTES)
            if used + needed > most:
                raise port.LogFullError(
                    f"the log holds {used:,} bytes of at most {most:,} (retention.maxBytes): nothing was written;"
                    f" wait until its readers have gone on, or raise the limit"
                )
        free = self._host.free_bytes(self._directory)
        if free - needed < _RESERVE_BYTES:
            raise port.LogFullError(
                f"{self._directory} has {free:,} bytes left on its disk ({_RESERVE_BYTES:,} are kept free so that the log can"
                f" be read on and trimmed): nothing was written; make room there"
            )

    def _commit_group(self, operation: CommitGroup) -> None:
        rows = []
        for number, commit in operation.commits.items():
            end = self._partition(operation.topic, number).end
            if not 0 <= commit.offset <= end:
                raise port.LogError(
                    f"commit of group {operation.group} at offset {commit.offset} of {operation.topic}/{number}:"
                    f" the partition ends at {end}"
                )
            if len(commit.metadata.encode()) > METADATA_BYTES:
                raise port.LogError(
                    f"commit of group {operation.group} on {operation.topic}/{number}: {len(commit.metadata.encode()):,} bytes of"
                    f" metadata, {METADATA_BYTES:,} are allowed"
                )
            rows.append((operation.topic, operation.group, number, commit.offset, commit.metadata))
        self._connection.executemany("INSERT OR REPLACE INTO group_commit VALUES (?, ?, ?, ?, ?)", rows)

    def _save_snapshot(self, operation: SaveSnapshot) -> None:
        """Not held against maxBytes: what is in the log can only be finished and trimmed when it goes on."""
        check_partition(operation.topic, operation.partition, self._partitions)
        # Made when it is first needed: a log without state stays one that older releases know.
        self._connection.execute(embedded_schema.SNAPSHOT_TABLE)
        place = (operation.topic, operation.group, operation.partition)
        given = operation.snapshot
        if given is not None:
            row = (*place, given.offset, given.content)
            self._connection.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?, ?)", row)
            self._connection.execute(
                "DELETE FROM snapshot WHERE topic = ? AND name = ? AND number = ? AND offset > ?", (*place, given.offset)
            )
        self._connection.execute(
            "DELETE FROM snapshot WHERE topic = ? AND name = ? AND number = ? AND offset NOT IN"
            " (SELECT offset FROM snapshot WHERE topic = ? AND name = ? AND number = ? ORDER BY offset DESC LIMIT ?)",
            (*place, *place, _SNAPSHOTS if given is not None else 0),
        )

    def _trim(self, operation: Trim) -> Outcome:
        partition = self._partition(operation.topic, operation.partition)
        if operation.before > partition.end:
            raise port.OffsetOutOfRangeError(
                f"trim of {operation.topic}/{operation.partition} before offset {operation.before}: it ends at {partition.end}"
            )
        reach = self._reach(partition, operation.before)
        if reach > partition.start:
            self._delete(partition, reach)
        if reach < operation.before:
            return Unfinished()
        self._forget_producers(partition)
        return None

    def _reach(self, partition: _Partition, before: int) -> int:
        """How far one step of a trim goes: the offset after its last record."""
        reach, held = partition.start, 0
        rows = self._connection.execute(
            "SELECT offset, value_bytes FROM record WHERE partition_id = ? AND offset < ? ORDER BY offset LIMIT ?",
            (partition.id, before, _TRIM_RECORDS),
        )
        for offset, value_bytes in rows:
            reach, held = offset + 1, held + value_bytes
            if held >= _TRIM_BYTES:
                break
        rows.close()
        return reach

    def _delete(self, partition: _Partition, before: int) -> None:
        below = "partition_id = ? AND offset < ?"
        chosen = (partition.id, before)
        self._connection.execute(f"DELETE FROM value WHERE id IN (SELECT value_id FROM record WHERE {below})", chosen)  # noqa: S608
        self._connection.execute(f"DELETE FROM record WHERE {below}", chosen)  # noqa: S608
        self._connection.execute("UPDATE partition SET start_offset = ? WHERE id = ?", (before, partition.id))

    def _forget_producers(self, partition: _Partition) -> None:
        self._connection.execute(
            "DELETE FROM producer WHERE partition_id = ? AND append_time < ?"
            " AND NOT EXISTS (SELECT 1 FROM record WHERE producer_id = producer.id)",
            (partition.id, self._now() - _PRODUCER_QUIET_MICROSECONDS),
        )

    def _shrink(self) -> Outcome:
        pages, free = self._pragma("page_count"), self._pragma("freelist_count")
        if free * self._page_bytes < _SPARE_BYTES or 2 * free < pages:
            return None
        # The pragma gives back one page per row, and Python's module takes one step of a statement without columns.
        for _ in range(_SHRINK_PAGES):
            self._connection.execute("PRAGMA incremental_vacuum(1)")
        return Unfinished()

    def _partition(self, topic: str, number: int) -> _Partition:
        """The partition, made if it is not there yet."""
        check_partition(topic, number, self._partitions)
        find = "SELECT id, start_offset, end_offset FROM partition WHERE topic = ? AND number = ?"
        found = self._connection.execute(find, (topic, number)).fetchone()
        if found is None:
            made = self._connection.execute("INSERT INTO partition VALUES (NULL, ?, ?, 0, 0, 0)", (topic, number))
            found = (made.lastrowid, 0, 0)
        identity, start, end = found
        return _Partition(id=identity, start=start, end=end)

    def _now(self) -> int:
        elapsed = self._host.monotonic_nanoseconds() - self._started_nanoseconds
        return self._base_microseconds + elapsed // 1_000

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])


def checksum(value: bytes, headers: bytes) -> int:
    """What a record read back is compared with."""
    return zlib.crc32(headers, zlib.crc32(value))


def check_partition(topic: str, number: int, partitions: int) -> None:
    """Raise LogError for a partition the log doesn't have."""
    if not 0 <= number < partitions:
        raise port.LogError(f"{topic}/{number}: this log has the partitions 0 to {partitions - 1}")


def _gap(operation: Append, last_sequence: int) -> str:
    record = operation.record
    expected = last_sequence + 1
    return (
        f"{operation.topic}/{operation.partition}: producer {record.producer} sent sequence {record.sequence}, {expected} was"
        f" expected: a producer sends the next one when the last one's outcome is known, and a new producer starts at 0"
    )
