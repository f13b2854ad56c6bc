"""The one thread that writes an embedded log, and with it the group commit.

Whatever was asked for while the last transaction was being flushed goes into the next one, so sixteen appenders pay for one
flush. Results go back to the event loop in one call per transaction.
"""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence

from penstock.core import failpoints
from penstock.log import port
from penstock.log.embedded import schema as embedded_schema
from penstock.log.embedded import store as embedded_store
from penstock.telemetry import metrics

_GROUP_BYTES = 64 << 20
_CHECKPOINT_BYTES = 16 << 20
_JOURNAL_BYTES = 96 << 20
_STEP_BYTES = 256 << 10
_SHRINK_BYTES = 16 << 20
_PATIENCE_MILLISECONDS = 250


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Request:
    """An operation and who waits for it; `future` is None for the log's own housekeeping."""

    operation: embedded_store.Operation
    future: asyncio.Future[embedded_store.Outcome] | None


Settled = tuple[Request, "embedded_store.Outcome | port.LogError"]


class Writer:
    """Owns the writing connection from `start` to `stop`.

    `settled` is called on the loop, after the flush, with the requests of one transaction that are finished.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: pathlib.Path,
        store: embedded_store.Store,
        loop: asyncio.AbstractEventLoop,
        settled: Callable[[Sequence[Settled]], None],
        failpoint: failpoints.Failpoint = failpoints.nothing,
    ) -> None:
        self._connection = connection
        self._path = path
        self._store = store
        self._loop = loop
        self._settled = settled
        self._failpoint = failpoint
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._page_bytes = int(connection.execute("PRAGMA page_size").fetchone()[0])
        self._broken: port.LogError | None = None
        self._journal_bytes = 0
        self._checkpoint_at = _CHECKPOINT_BYTES
        # A daemon: an owner that forgets to close must still be able to exit, and there is nothing here a kill could hurt.
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, request: Request) -> None:
        """From the loop's thread; requests are done in this order."""
        self._requests.put(request)

    def stop(self) -> None:
        """Do what was submitted before, then close the connection. Blocks."""
        self._requests.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_for_more = True
        while open_for_more:
            group, open_for_more = self._gather()
            if group:
                self._answer(self._flush(group))
                self._keep_journal_short()
        self._refuse_the_rest()
        self._connection.close()

    def _refuse_the_rest(self) -> None:
        """Long trims that were under way; they go on with the next trim."""
        rest: list[Settled] = []
        while not self._requests.empty():
            if request := self._requests.get():
                rest.append((request, port.LogError(f"{self._path} was closed before this was done")))
        self._answer(rest)

    def _gather(self) -> tuple[list[Request], bool]:
        """What is waiting, at least one request; False when the end was asked for."""
        group: list[Request] = []
        held = 0
        item = self._requests.get()
        while item is not None:
            group.append(item)
            held += _weight(item)
            if held >= _GROUP_BYTES:
                return group, True
            try:
                item = self._requests.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _flush(self, group: Sequence[Request]) -> list[Settled]:
        """One transaction; where its appends find no room, one without them."""
        if self._broken:
            return [(request, self._broken) for request in group]
        try:
            outcomes = self._transact(group)
        except sqlite3.Error as error:
            failure = embedded_schema.explain(error, self._path)
            self._undo(error, failure)
            return self._flush_rest(group, failure)
        except Exception as error:  # Whatever it is, those who wait must hear of it and the thread must live on.
            self._undo(None, unexpected := port.LogError(f"{self._path}: nothing was written: {error!r}"))
            return [(request, unexpected) for request in group]
        appended = sum(isinstance(outcome, port.Appended) and not outcome.resent for _, outcome in outcomes)
        if appended:
            metrics.LOG_FLUSH_RECORDS.observe(appended)
        return outcomes

    def _transact(self, group: Sequence[Request]) -> list[Settled]:
        self._store.begin()
        outcomes = [(request, self._attempt(request.operation)) for request in group]
        self._failpoint("log.written")
        self._store.commit()
        self._failpoint("log.flushed")
        if any(isinstance(request.operation, embedded_store.CommitGroup) for request in group):
            self._failpoint("log.offsets")
        self._journal_bytes += sum(map(_weight, group)) + _STEP_BYTES
        return outcomes

    def _attempt(self, operation: embedded_store.Operation) -> embedded_store.Outcome | port.LogError:
        try:
            return self._store.apply(operation)
        except port.LogError as refusal:
            return refusal

    def _undo(self, error: sqlite3.Error | None, failure: port.LogError) -> None:
        if error and embedded_schema.is_lasting(error):
            self._broken = failure
        try:
            self._store.rollback()
        except sqlite3.Error:
            self._broken = failure

    def _flush_rest(self, group: Sequence[Request], failure: port.LogError) -> list[Settled]:
        """Commits and trims are small and may be what makes room: they are tried again without the appends."""
        appends = [request for request in group if isinstance(request.operation, embedded_store.Append)]
        rest = [request for request in group if request not in appends]
        if not (appends and rest and isinstance(failure, port.LogFullError)):
            return [(request, failure) for request in group]
        return [(request, failure) for request in appends] + self._flush(rest)

    def _answer(self, outcomes: Sequence[Settled]) -> None:
        finished = []
        for request, outcome in outcomes:
            if isinstance(outcome, embedded_store.Unfinished):
                self._requests.put(request)
            else:
                finished.append((request, outcome))
                if isinstance(request.operation, embedded_store.Trim) and outcome is None:
                    self._requests.put(Request(embedded_store.Shrink(), None))
        try:
            self._loop.call_soon_threadsafe(self._settled, finished)
        except RuntimeError:
            # The loop is closed: nobody waits any more, and what was flushed stays flushed.
            return

    def _keep_journal_short(self) -> None:
        """Move the journal's pages into the file. After the answers, so that no appender waits for it."""
        if self._journal_bytes < self._checkpoint_at or self._broken:
            return
        try:
            self._checkpoint()
        except sqlite3.Error as error:
            self._undo(error, embedded_schema.explain(error, self._path))

    def _checkpoint(self) -> None:
        execute = self._connection.execute
        _, pages, moved = execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if pages * self._page_bytes > _JOURNAL_BYTES:
            # Readers that overlap without a gap keep the journal from starting again: wait for those who read now.
            execute(f"PRAGMA busy_timeout = {_PATIENCE_MILLISECONDS}")
            execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            execute(f"PRAGMA busy_timeout = {embedded_schema.BUSY_MILLISECONDS}")
        if pages == moved:
            self._journal_bytes, self._checkpoint_at = 0, _CHECKPOINT_BYTES
        else:
            # A reader holds an older state: try again after as much again.
            self._checkpoint_at = self._journal_bytes + _CHECKPOINT_BYTES


def _weight(request: Request) -> int:
    """About how much an operation adds to the journal."""
    match request.operation:
        case embedded_store.Append(record=record):
            return len(record.value)
        case embedded_store.SaveSnapshot(snapshot=snapshot):
            return len(snapshot.content) if snapshot else 0
        case embedded_store.Shrink():
            return _SHRINK_BYTES
        case _:
            return 0
