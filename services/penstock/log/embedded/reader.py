"""Reading an embedded log beside its writer: a few threads with a read-only connection each.

Every function runs in one snapshot, so what it returns belongs together whatever the writer does meanwhile. Snapshots are
short: a long one would keep the journal from being moved into the file.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import pathlib
import queue
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from penstock.log import port
from penstock.log.embedded import schema as embedded_schema
from penstock.log.embedded import store as embedded_store

_THREADS = 2
_LOOK_AHEAD_RECORDS = 1_000

_HEADERS = (
    "SELECT record.offset, record.append_time, name, record.sequence, headers FROM record"
    " JOIN producer ON producer.id = producer_id"
)

_Result = TypeVar("_Result")
_headers = msgspec.msgpack.Decoder(dict[str, bytes])


class Readers:
    """A pool of read-only connections; `run` from the loop, `close` when nothing runs any more."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._threads = concurrent.futures.ThreadPoolExecutor(_THREADS, thread_name_prefix="log-reader")
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        for _ in range(_THREADS):
            self._idle.put(embedded_schema.open_reader(path))

    async def run(self, query: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Run `query` in one snapshot on a reader thread. Raises LogError for what SQLite raises."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, query)

    def _run(self, query: Callable[[sqlite3.Connection], _Result]) -> _Result:
        connection = self._idle.get()
        try:
            with _snapshot(connection):
                return query(connection)
        except sqlite3.Error as error:
            raise embedded_schema.explain(error, self._path) from error
        finally:
            self._idle.put(connection)

    def close(self) -> None:
        """Blocks until running queries are done."""
        self._threads.shutdown()
        for _ in range(_THREADS):
            self._idle.get().close()


def bounds(connection: sqlite3.Connection, topic: str, number: int) -> port.Bounds:
    """Of a partition nobody has written: 0, 0."""
    _, start, end = _find(connection, topic, number)
    return port.Bounds(start=start, end=end)


def committed(connection: sqlite3.Connection, topic: str, group: str) -> dict[int, port.Commit]:
    rows = connection.execute(
        "SELECT number, offset, metadata FROM group_commit WHERE topic = ? AND name = ? ORDER BY number", (topic, group)
    )
    return {number: port.Commit(offset=offset, metadata=metadata) for number, offset, metadata in rows}


def snapshot_offsets(connection: sqlite3.Connection, topic: str, group: str, number: int) -> list[int]:
    if not _has_snapshots(connection):
        return []
    rows = connection.execute(
        "SELECT offset FROM snapshot WHERE topic = ? AND name = ? AND number = ? ORDER BY offset DESC", (topic, group, number)
    )
    return [offset for (offset,) in rows]


def load_snapshot(connection: sqlite3.Connection, topic: str, group: str, number: int, at_most: int) -> port.Snapshot | None:
    if not _has_snapshots(connection):
        return None
    row = connection.execute(
        "SELECT offset, content FROM snapshot WHERE topic = ? AND name = ? AND number = ? AND offset <= ?"
        " ORDER BY offset DESC LIMIT 1",
        (topic, group, number, at_most),
    ).fetchone()
    return port.Snapshot(offset=row[0], content=row[1]) if row else None


def _has_snapshots(connection: sqlite3.Connection) -> bool:
    """The table is made with the first one."""
    return bool(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'snapshot'").fetchone())


def size_bytes(connection: sqlite3.Connection) -> int:
    """Pages in use; free pages are not counted, for they take the next records."""
    used, free, page_bytes = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "freelist_count", "page_size")
    )
    return (used - free) * page_bytes


def records(connection: sqlite3.Connection, topic: str, number: int, offset: int, max_bytes: int) -> list[port.Record]:
    """From `offset` on: at least one if there is any, then as many as `max_bytes` of values hold.

    Raises OffsetOutOfRangeError outside of the partition's bounds, DamagedLogError where the first of them is missing or
    changed; a later one ends what is returned, so that everything before it can be used.
    """
    identity, end = _reach(connection, topic, number, offset)
    until = _until(connection, identity, offset, max_bytes)
    rows = connection.execute(
        "SELECT record.offset, record.append_time, name, record.sequence, headers, content, checksum FROM record"
        " JOIN producer ON producer.id = producer_id JOIN value ON value.id = value_id"
        " WHERE record.partition_id = ? AND record.offset >= ? AND record.offset < ? ORDER BY record.offset",
        (identity, offset, until),
    )
    found: list[port.Record] = []
    # A statement that is left half-way holds its snapshot, and later questions would be answered from the past.
    with contextlib.closing(rows):
        try:
            for expected, row in enumerate(rows, offset):
                found.append(_checked(topic, number, expected, row))
        except port.DamagedLogError:
            if not found:
                raise
    if not found and offset < end:
        raise port.DamagedLogError(_missing(topic, number, offset).reason)
    return found


def headers(connection: sqlite3.Connection, topic: str, number: int, before: int, limit: int) -> list[port.Record]:
    """Newest first; reads no value. Empty only where there are none that can be read."""
    identity, _, _ = _find(connection, topic, number)
    found: list[port.Record] = []
    while not found:
        rows = connection.execute(
            f"{_HEADERS} WHERE record.partition_id = ? AND record.offset < ? ORDER BY record.offset DESC LIMIT ?",
            (identity, before, limit),
        ).fetchall()
        if not rows:
            break
        before = rows[-1][0]
        for row in rows:
            with contextlib.suppress(port.DamagedLogError):
                found.append(_record(topic, number, row, b""))
    return found


def damaged(connection: sqlite3.Connection, topic: str, number: int, start: int, end: int) -> list[port.Damaged]:
    """What `headers` leaves out, or could never find."""
    identity, first, last = _find(connection, topic, number)
    following, end = max(start, first), min(end, last)
    rows = connection.execute(
        f"{_HEADERS} WHERE record.partition_id = ? AND record.offset >= ? AND record.offset < ? ORDER BY record.offset",
        (identity, following, end),
    )
    found: list[port.Damaged] = []
    for row in rows:
        found += [_missing(topic, number, offset) for offset in range(following, row[0])]
        following = row[0] + 1
        try:
            _record(topic, number, row, b"")
        except port.DamagedLogError as error:
            found.append(port.Damaged(offset=row[0], reason=str(error)))
    return found + [_missing(topic, number, offset) for offset in range(following, end)]


def fair(
    connection: sqlite3.Connection, topic: str, wanted: Sequence[tuple[int, int]], max_bytes: int
) -> dict[int, list[port.Record]]:
    """Records of several (partition, offset) under one bound: each partition gets its share of what the earlier ones left.

    The first that has any gives at least one. Raises as `records` does, whichever partition it is.
    """
    for number, offset in wanted:
        _reach(connection, topic, number, offset)
    found: dict[int, list[port.Record]] = {}
    left = max_bytes
    for index, (number, offset) in enumerate(wanted):
        share = left // (len(wanted) - index)
        if found and (left <= 0 or _first_bytes(connection, topic, number, offset) > share):
            continue
        if batch := records(connection, topic, number, offset, share):
            found[number] = batch
            left -= sum(len(record.value) for record in batch)
    return found


@contextlib.contextmanager
def _snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _find(connection: sqlite3.Connection, topic: str, number: int) -> tuple[int, int, int]:
    find = "SELECT id, start_offset, end_offset FROM partition WHERE topic = ? AND number = ?"
    found: tuple[int, int, int] | None = connection.execute(find, (topic, number)).fetchone()
    return found or (0, 0, 0)


def _reach(connection: sqlite3.Connection, topic: str, number: int, offset: int) -> tuple[int, int]:
    """The partition's row and its end, once it is sure that `offset` is within its bounds."""
    identity, start, end = _find(connection, topic, number)
    if not start <= offset <= end:
        why = "it was trimmed" if offset < start else "it was never written"
        raise port.OffsetOutOfRangeError(
            f"{topic}/{number}: offset {offset} is not in the log, which holds {start} to {end} ({why})"
        )
    return identity, end


def _until(connection: sqlite3.Connection, identity: int, offset: int, max_bytes: int) -> int:
    """The offset after the last record that fits, looking at no value."""
    rows = connection.execute(
        "SELECT offset, value_bytes FROM record WHERE partition_id = ? AND offset >= ? ORDER BY offset LIMIT ?",
        (identity, offset, _LOOK_AHEAD_RECORDS),
    )
    until, held = offset, 0
    for at, value_bytes in rows:
        held += value_bytes
        if held > max_bytes and until > offset:
            break
        until = at + 1
    rows.close()
    return until


def _first_bytes(connection: sqlite3.Connection, topic: str, number: int, offset: int) -> int:
    identity, _, _ = _find(connection, topic, number)
    find = "SELECT value_bytes FROM record WHERE partition_id = ? AND offset = ?"
    found = connection.execute(find, (identity, offset)).fetchone()
    return found[0] if found else 0


def _checked(topic: str, number: int, expected: int, row: tuple[int, int, str, int, bytes, bytes, int]) -> port.Record:
    offset, _, _, _, packed, value, checksum = row
    if offset != expected:
        raise port.DamagedLogError(_missing(topic, number, expected).reason)
    if embedded_store.checksum(value, packed) != checksum:
        raise port.DamagedLogError(f"{topic}/{number}: the record at offset {offset} is not what was written: the log is damaged")
    return _record(topic, number, row[:5], value)


def _missing(topic: str, number: int, offset: int) -> port.Damaged:
    return port.Damaged(offset=offset, reason=f"{topic}/{number}: the record at offset {offset} is missing: the log is damaged")


def _record(topic: str, number: int, row: tuple[int, int, str, int, bytes], value: bytes) -> port.Record:
    """Raises DamagedLogError."""
    offset, append_time, producer, sequence, packed = row
    try:
        headers = _headers.decode(packed)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        what = f"the headers of the record at offset {offset} are not what was written: the log is damaged"
        raise port.DamagedLogError(f"{topic}/{number}: {what}") from error
    return port.Record(
        topic=topic,
        partition=number,
        offset=offset,
        append_time_microseconds=append_time,
        value=value,
        headers=headers,
        producer=producer,
        sequence=sequence,
    )
