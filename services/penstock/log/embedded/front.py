"""The `EventLog` of one machine: one SQLite file in write-ahead mode, written by one process, read by any number.

This is the front, on the event loop. Writes go through `embedded_writer` (one thread, group commit) to `embedded_store`
(the transactions themselves); reads through `embedded_reader`, which never waits for the writer. `embedded_schema` knows the
file, `embedded_lock` who may write it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import pathlib
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from penstock.core import failpoints, lineage
from penstock.log import port
from penstock.log.embedded import lock as embedded_lock
from penstock.log.embedded import reader as embedded_reader
from penstock.log.embedded import schema as embedded_schema
from penstock.log.embedded import store as embedded_store
from penstock.log.embedded import subscription as embedded_subscription
from penstock.log.embedded import writer as embedded_writer
from penstock.telemetry import metrics

_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Writing:
    """What a log has that may be written."""

    writer: embedded_writer.Writer
    lock: embedded_lock.WriterLock


class EmbeddedLog:
    """`port.EventLog` over the file at `path`. Use it from the loop that opened it.

    A re-send of a record that was trimmed since answers `resent` with offset -1.
    """

    def __init__(self, path: pathlib.Path, identity: embedded_schema.Identity, readers: embedded_reader.Readers) -> None:
        self._path = path
        self._identity = identity
        self._readers = readers
        self._writing: _Writing | None = None
        self._subscriptions: dict[tuple[str, str], embedded_subscription.EmbeddedSubscription] = {}
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: pathlib.Path,
        *,
        partitions: int = 1,
        max_bytes: int | None = None,
        read_only: bool = False,
        grows: bool = False,
        host: embedded_store.Host | None = None,
        failpoint: failpoints.Failpoint = failpoints.nothing,
    ) -> EmbeddedLog:
        """Open the log at `path`, making it (not its directory) if it isn't there. None as `max_bytes` is no bound.

        Read-only opening works beside a writer, after a crash and when nothing runs, makes nothing and takes the partition
        count from the file. Raises LogLockedError when another process writes it, LogError for a file that is damaged, of a
        newer version, or made with another number of partitions. `grows`: one with fewer is given as many, one with more keeps
        them; for logs whose partitions no key chooses.
        """
        if read_only:
            return await asyncio.to_thread(_open_read_only, path)
        lock = await asyncio.to_thread(embedded_lock.WriterLock.acquire, path)
        try:
            host = host or embedded_store.Host()
            prepare = functools.partial(_open_for_writing, path, partitions, max_bytes, host, grows=grows)
            log, connection, store = await asyncio.to_thread(prepare)
        except BaseException:
            lock.release()
            raise
        log._start_writing(connection, store, lock, failpoint)  # noqa: SLF001 - its own
        return log

    @property
    def log_id(self) -> str:
        return self._identity.log_id

    @property
    def known_as(self) -> lineage.Lineage:
        return lineage.Lineage(log_id=self._identity.log_id, former=self._identity.former)

    @property
    def partitions(self) -> int:
        return self._identity.partitions

    async def grow(self, partitions: int) -> None:
        """Have at least as many from now on, behind those there are; subscriptions keep what they have. Raises LogError."""
        if partitions > self.partitions:
            await self._ask(embedded_store.Grow(partitions=partitions))
            self._identity = dataclasses.replace(self._identity, partitions=partitions)

    async def append(self, topic: str, partition: int, record: port.NewRecord) -> port.Appended:
        """As the port says. Cancelling does not take the record back: its outcome is unknown, and a re-send tells."""
        started = time.perf_counter()
        appended = await self._ask(embedded_store.Append(topic=topic, partition=partition, record=record))
        metrics.LOG_APPEND_SECONDS.labels(topic).observe(time.perf_counter() - started)
        assert isinstance(appended, port.Appended)  # noqa: S101 - what Append always results in
        return appended

    async def subscribe(self, topic: str, group: str, listener: port.AssignmentListener) -> port.Subscription:
        """All partitions, assigned in the first poll. Raises LogError while the group has another open subscription."""
        self._check_writable()
        key = (topic, group)
        if key in self._subscriptions:
            raise port.LogError(f"group {group} is subscribed to {topic} already: close that subscription first")
        self._subscriptions[key] = subscription = embedded_subscription.EmbeddedSubscription(
            topic=topic,
            group=group,
            partitions=self.partitions,
            readers=self._readers,
            commit=functools.partial(self._commit, topic, group),
            closed=functools.partial(self._unsubscribe, key),
            listener=listener,
        )
        return subscription

    async def read(self, topic: str, partition: int, offset: int, *, max_bytes: int) -> Sequence[port.Record]:
        return await self._query(embedded_reader.records, topic, partition, offset=offset, max_bytes=max_bytes)

    async def headers(self, topic: str, partition: int, before: int, *, limit: int) -> Sequence[port.Record]:
        return await self._query(embedded_reader.headers, topic, partition, before=before, limit=limit)

    async def damaged(self, topic: str, partition: int, start: int, end: int) -> Sequence[port.Damaged]:
        return await self._query(embedded_reader.damaged, topic, partition, start=start, end=end)

    async def bounds(self, topic: str, partition: int) -> port.Bounds:
        return await self._query(embedded_reader.bounds, topic, partition)

    async def committed(self, topic: str, group: str) -> Mapping[int, port.Commit]:
        self._check_open()
        return await self._readers.run(functools.partial(embedded_reader.committed, topic=topic, group=group))

    async def commit_for(self, topic: str, group: str, commits: Mapping[int, port.Commit]) -> None:
        if (topic, group) in self._subscriptions:
            raise port.GroupInUseError(f"group {group} reads {topic} in this process, and only it may commit")
        await self._commit(topic, group, commits)

    async def save_snapshot(self, topic: str, group: str, partition: int, snapshot: port.Snapshot) -> None:
        await self._ask(embedded_store.SaveSnapshot(topic=topic, group=group, partition=partition, snapshot=snapshot))

    async def load_snapshot(self, topic: str, group: str, partition: int, at_most: int) -> port.Snapshot | None:
        self._check_open()
        query = functools.partial(embedded_reader.load_snapshot, topic=topic, group=group, number=partition, at_most=at_most)
        return await self._readers.run(query)

    async def snapshot_offsets(self, topic: str, group: str, partition: int) -> Sequence[int]:
        self._check_open()
        query = functools.partial(embedded_reader.snapshot_offsets, topic=topic, group=group, number=partition)
        return await self._readers.run(query)

    async def forget_snapshots(self, topic: str, group: str, partition: int) -> None:
        """Writes nothing where there are none."""
        if await self.snapshot_offsets(topic, group, partition):
            await self._ask(embedded_store.SaveSnapshot(topic=topic, group=group, partition=partition, snapshot=None))

    async def trim(self, topic: str, partition: int, before: int) -> None:
        """In steps, between which appends have their turn; the file shrinks where much of it has become free."""
        await self._ask(embedded_store.Trim(topic=topic, partition=partition, before=before))

    async def size_bytes(self) -> int:
        self._check_open()
        return await self._readers.run(embedded_reader.size_bytes)

    async def close(self) -> None:
        """What was asked for before is done first. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        for subscription in list(self._subscriptions.values()):
            await subscription.close()
        # Readers first: the last connection to close puts the journal away, and only the writer's may.
        await asyncio.to_thread(self._readers.close)
        if self._writing:
            await asyncio.to_thread(self._writing.writer.stop)
            self._writing.lock.release()

    def _unsubscribe(self, key: tuple[str, str]) -> None:
        del self._subscriptions[key]

    async def _commit(self, topic: str, group: str, commits: Mapping[int, port.Commit]) -> None:
        await self._ask(embedded_store.CommitGroup(topic=topic, group=group, commits=dict(commits)))

    async def _query(self, query: Callable[..., _Result], topic: str, partition: int, **arguments: int) -> _Result:
        self._check_open()
        embedded_store.check_partition(topic, partition, self.partitions)
        return await self._readers.run(lambda connection: query(connection, topic, partition, *arguments.values()))

    async def _ask(self, operation: embedded_store.Operation) -> embedded_store.Outcome:
        writing = self._check_writable()
        future: asyncio.Future[embedded_store.Outcome] = asyncio.get_running_loop().create_future()
        writing.writer.submit(embedded_writer.Request(operation, future))
        return await future

    def _start_writing(
        self,
        connection: sqlite3.Connection,
        store: embedded_store.Store,
        lock: embedded_lock.WriterLock,
        failpoint: failpoints.Failpoint,
    ) -> None:
        writer = embedded_writer.Writer(connection, self._path, store, asyncio.get_running_loop(), self._settle, failpoint)
        self._writing = _Writing(writer=writer, lock=lock)
        writer.start()

    def _settle(self, outcomes: Sequence[embedded_writer.Settled]) -> None:
        """On the loop, once per transaction: answer those who wait, wake those who read."""
        topics: set[str] = set()
        for request, outcome in outcomes:
            if isinstance(outcome, port.Appended) and isinstance(request.operation, embedded_store.Append):
                topics.add(request.operation.topic)
            if request.future is None or request.future.done():
                continue
            if isinstance(outcome, port.LogError):
                # A copy each: one failure can answer many, and an exception raised twice mixes up its tracebacks.
                request.future.set_exception(type(outcome)(*outcome.args))
            else:
                request.future.set_result(outcome)
        for (topic, _), subscription in self._subscriptions.items():
            if topic in topics:
                subscription.wake()

    def _check_open(self) -> None:
        if self._closed:
            raise port.LogError(f"{self._path} was closed")

    def _check_writable(self) -> _Writing:
        self._check_open()
        if self._writing is None:
            raise port.LogError(f"{self._path} was opened read-only")
        return self._writing


def renew(path: pathlib.Path) -> None:
    """Give the log at `path` a new id: no store will take what is in it, or comes into it, for what landed before.

    For a log that was put back from a copy. Raises LogLockedError while a process writes it, LogError.
    """
    lock = embedded_lock.WriterLock.acquire(path)
    try:
        with contextlib.closing(embedded_schema.open_writer(path)) as connection:
            identity = embedded_schema.identify(connection, path)
            embedded_schema.rename(connection, identity, embedded_store.Host().new_id())
    except sqlite3.Error as error:
        raise embedded_schema.explain(error, path) from error
    finally:
        lock.release()


def _open_read_only(path: pathlib.Path) -> EmbeddedLog:
    if not path.exists():
        raise port.LogError(f"no log at {path}: nothing has run with this data directory yet")
    try:
        with contextlib.closing(embedded_schema.open_reader(path)) as connection:
            identity = embedded_schema.identify(connection, path)
        return EmbeddedLog(path, identity, embedded_reader.Readers(path))
    except sqlite3.Error as error:
        raise embedded_schema.explain(error, path) from error


def _open_for_writing(
    path: pathlib.Path, partitions: int, max_bytes: int | None, host: embedded_store.Host, *, grows: bool
) -> tuple[EmbeddedLog, sqlite3.Connection, embedded_store.Store]:
    """Under the lock."""
    with contextlib.ExitStack() as undo:
        try:
            if not path.exists():
                embedded_schema.create(path, embedded_schema.Identity(log_id=host.new_id(), partitions=partitions))
            connection = undo.enter_context(contextlib.closing(embedded_schema.open_writer(path)))
            identity = embedded_schema.identify(connection, path)
            if grows and identity.partitions < partitions:
                identity = embedded_schema.grow(connection, identity, partitions)
            _expect(identity, path, identity.partitions if grows else partitions)
            embedded_schema.check(connection, path)
            store = embedded_store.Store(connection, path, partitions=identity.partitions, max_bytes=max_bytes, host=host)
            log = EmbeddedLog(path, identity, embedded_reader.Readers(path))
        except sqlite3.Error as error:
            raise embedded_schema.explain(error, path) from error
        undo.pop_all()
        return log, connection, store


def _expect(identity: embedded_schema.Identity, path: pathlib.Path, partitions: int) -> None:
    if identity.partitions != partitions:
        raise port.LogError(
            f"{path} was made with {identity.partitions} partitions, {partitions} are asked for"
            f" (log.embedded.partitions): keep {identity.partitions}, or start an empty log in another --data directory"
        )
