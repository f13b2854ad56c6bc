"""A lane's second way in: its replay log, read beside the main log by the same group.

The lane's circuit, store, transform and worker are shared; batches, positions and books are its own, so a replay neither
enters the main ledger nor any latency figure. A replayed row keeps its first address for a second letter, while what has
landed is remembered under the replay log's own identity.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures

import pyarrow as pa
import structlog

from penstock.batcher import accounts
from penstock.batcher import settings as lane_settings
from penstock.batcher.deadletters import letters, second_letters
from penstock.batcher.guarding import suspects
from penstock.batcher.reading import feed, holding, prepare, reader
from penstock.batcher.replaying import apart, reparse
from penstock.batcher.writing import dispatch, landing, planning, sink_client
from penstock.core import addresses, breaker, deadletters, dialects, ledger, markers, results
from penstock.log import port

_log = structlog.get_logger()

_POLL_SECONDS = 1.0
_HEADER_PAGE = 256
_MEMORY_SHARE = 8
"""Replays may hold this part of what the lane may."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the lane's two ways in have in common."""

    client: sink_client.SinkClient
    circuit: breaker.Breaker
    letter_writer: letters.LetterWriter
    lander: landing.Lander
    preparer: prepare.Preparer
    worker: futures.Executor


class Replays:
    """An `AssignmentListener` and the loops that read and land. Used from the lane's event loop only."""

    def __init__(self, settings: lane_settings.LaneSettings, log: port.EventLog, shared: Shared) -> None:
        told = dataclasses.replace(
            settings, deduplicate=None, send_when_idle=True, memory_bytes=settings.memory_bytes // _MEMORY_SHARE
        )
        self._settings, self._log, self._shared = told, log, shared
        self._topic = port.replay_topic(settings.sink)
        self.accounts = accounts.LaneAccounts(markers.replay_log_id(log.log_id, settings.sink))
        self._letters = second_letters.SecondLetters(told, log, shared.letter_writer)
        self._lander = landing.Lander(told, shared.client, self._letters, shared.circuit, self.accounts, beside=shared.lander)
        self.dispatcher = dispatch.Dispatcher(told, self._lander, shared.circuit, counts_latency=False)
        self.dispatcher.bound(1)
        self._feed = feed.Feed(
            told,
            shared.preparer,
            shared.worker,
            self.accounts,
            self.dispatcher,
            self._letters,
            transformed=lambda _: None,
            room=self._room,
        )
        self._court = suspects.Court(told)
        self._reparser = reparse.Reparser(told, log.log_id, shared.preparer)
        self._seen: dict[int, set[tuple[str, int]]] = {}
        self._second: dict[int, dict[_Attempt, set[int]]] = {}
        self._committed: dict[int, port.Commit] = {}
        self._committing = asyncio.Lock()
        self._running = asyncio.Event()
        self._running.set()
        self._assigned = False
        self._taking = False
        self._hold = holding.Hold(range(log.partitions))
        self._subscription: port.Subscription | None = None

    @property
    def failure(self) -> results.Failure | None:
        """Why no replay can land until a person acts."""
        return self._lander.failure

    def plan_with(self, told: Callable[[str], None]) -> None:
        """Before `join`: the store knows tokens, so what a batch is made of must be durable before it leaves."""
        self.dispatcher.plan_with(planning.Planner(self._settings, self.accounts, self.commit, told))

    async def join(self) -> None:
        """Join the log. Raises LogError."""
        self._subscription = await self._log.subscribe(self._topic, self._settings.lane, self)

    def pause(self) -> None:
        self._running.clear()
        self.dispatcher.pause()

    def pause_reading(self) -> None:
        """Land what has been read, and nothing after it."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()
        self.dispatcher.resume()

    async def is_drained(self) -> bool:
        """Whether everything in the replay log is finished."""
        for partition, (offset, _) in self.accounts.commits().items():
            if (await self._log.bounds(self._topic, partition)).end > offset:
                return False
        return self._assigned and not self.accounts.open_blocks

    async def commit(self) -> None:
        """Make what is finished, and what is planned, durable; one state after the other."""
        async with self._committing:
            await self._commit()

    async def _commit(self) -> None:
        wanted = {
            partition: port.Commit(offset=offset, metadata=ledger.to_metadata(metadata))
            for partition, (offset, metadata) in self.accounts.commits().items()
        }
        changed = {partition: commit for partition, commit in wanted.items() if self._committed.get(partition) != commit}
        if changed and self._subscription:
            await self._subscription.commit(changed)
            self._committed |= changed

    async def close(self) -> None:
        """After the loops have ended. What is unfinished is read again."""
        await self.dispatcher.close()
        if self._subscription:
            with contextlib.suppress(port.PartitionLostError, port.LogUnavailableError):
                await self.commit()
            await self._subscription.close()

    # -- assignment

    async def on_assigned(self, commits: Mapping[int, port.Commit | None]) -> None:
        for partition, commit in commits.items():
            start = (await self._log.bounds(self._topic, partition)).start
            metadata = ledger.from_metadata(commit.metadata) if commit else ledger.LaneMetadata(start_offset=start)
            offset = commit.offset if commit else start
            self._seen[partition] = await self._seen_below(partition, offset)
            self._second[partition] = await self._second_since(partition, offset)
            self.accounts.open(partition, accounts.PartitionAccounts(offset, metadata), known_letters=set())
        self._assigned = True
        self._hold.extend(self._subscription)

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        await self.dispatcher.settle(self._settings.revoke_seconds, open_too=not self._taking)
        with contextlib.suppress(port.PartitionLostError, port.LogUnavailableError, TimeoutError):
            async with asyncio.timeout(self._settings.revoke_seconds / 2):
                await self.commit()
        await self.dispatcher.drop(partitions)
        for partition in partitions:
            self.accounts.close(partition)
            self._committed.pop(partition, None)

    async def _seen_below(self, partition: int, offset: int) -> set[tuple[str, int]]:
        """What stood in the replay log before `offset`: a pure function of the log, like a duplicate's verdict."""
        seen: set[tuple[str, int]] = set()
        before = offset
        while page := await self._log.headers(self._topic, partition, before, limit=_HEADER_PAGE):
            found = (dialects.decode(b"", record.headers) for record in page)
            seen.update((letter.id, letter.attempt) for letter in found)
            before = page[-1].offset
        return seen

    async def _second_since(self, partition: int, offset: int) -> dict[_Attempt, set[int]]:
        """Items of second letters that a process before this one may have written for replays at or after `offset`."""
        items: dict[_Attempt, set[int]] = collections.defaultdict(set)
        unfinished = await self._log.read(self._topic, partition, offset, max_bytes=1)
        if unfinished:
            async for letter in self._shared.letter_writer.since(partition, unfinished[0].append_time_microseconds):
                items[_attempt(letter)].update(letter.items)
        return items

    # -- reading

    async def run(self) -> None:
        """Read until cancelled. Raises LogError, DeadLetterError for a record that no release up to this one wrote."""
        assert self._subscription is not None  # noqa: S101 - it has joined
        while True:
            await self._hold.until(self._subscription, self._may_read, self._may_read_again)
            try:
                for partition, records in reader.by_partition(await self._poll(self._subscription)):
                    await self._take(partition, records)
            except holding.RevokedError:
                continue
            except port.LogUnavailableError as error:
                _log.warning("log_unavailable", sink=self._settings.sink, during="replay", error=str(error))
                await asyncio.sleep(_POLL_SECONDS)

    def _may_read(self) -> bool:
        return self._running.is_set() and self.dispatcher.has_room

    async def _may_read_again(self) -> None:
        await self._running.wait()
        await self.dispatcher.room()

    async def _room(self, partition: int) -> None:
        """Raises RevokedError."""
        books, self._taking = self.accounts.get(partition), True
        try:
            if self._subscription and not self.dispatcher.has_room:
                await self._hold.until(self._subscription, lambda: self.dispatcher.has_room, self.dispatcher.room)
        finally:
            self._taking = False
        if self.accounts.get(partition) is not books:
            raise holding.RevokedError

    async def _poll(self, subscription: port.Subscription) -> Sequence[port.Record]:
        records = await subscription.poll(max_bytes=self._settings.poll_bytes, timeout_seconds=0.0)
        if not records:
            self.dispatcher.nothing_unread = True
            self.dispatcher.wake()
            records = await subscription.poll(max_bytes=self._settings.poll_bytes, timeout_seconds=_POLL_SECONDS)
        if records:
            self.dispatcher.nothing_unread = False
        return records

    async def _take(self, partition: int, records: Sequence[port.Record]) -> None:
        taken = [self._replay(partition, record) for record in records]
        for stretch in apart.stretches(taken, [one.letter.is_apart for one in taken]):
            await self._take_together(partition, [await self._whole(one) for one in stretch])

    async def _whole(self, replay: reparse.Replay) -> reparse.Replay:
        if replay.seen or not replay.letter.is_apart:
            return replay
        found = await apart.whole(self._log, replay.letter)
        return dataclasses.replace(replay, letter=found or replay.letter, gone=found is None)

    async def _take_together(self, partition: int, taken: Sequence[reparse.Replay]) -> None:
        await self._learn(partition, [one.letter for one in taken if not one.seen])
        read = await self._feed.on_worker(self._reparser.read, partition, taken)
        books = self.accounts[partition]
        group = await self._survivors(read.group, taken)
        for verdict in group.blocks:
            books.started(verdict, lost=0)
        refused = [*read.refused, *suspects.letters_of(group)]
        if refused:
            await self._letters.write(partition, refused)
        for unit in refused:
            books.events_dead_lettered(unit.place.offset, 1)
        await self._feed.take(group, born=time.monotonic())

    async def _learn(self, partition: int, waiting: Sequence[deadletters.DeadLetter]) -> None:
        """What their originals need to be read; while nobody can tell, they wait here. Raises RevokedError."""
        told = self._settings
        values = [letter.original for letter in waiting if letter.original_format is told.record_format]
        if told.learn is None or not values:
            return
        books, learned = self.accounts.get(partition), False
        while not learned:
            try:
                await told.learn(pa.array(values, pa.binary()))
                learned = True
            except port.LogUnavailableError as error:
                _log.warning("log_unavailable", sink=told.sink, during="replay", error=str(error))
                await self._rest()
            if self.accounts.get(partition) is not books:
                raise holding.RevokedError

    async def _rest(self) -> None:
        """For a moment, as a member of the group."""
        until = time.monotonic() + _POLL_SECONDS
        if self._subscription:
            await self._hold.until(self._subscription, lambda: time.monotonic() > until, lambda: asyncio.sleep(_POLL_SECONDS))

    async def _survivors(self, group: prepare.Group, taken: Sequence[reparse.Replay]) -> prepare.Group:
        """An event that has killed a process once is tried in a child first: the transform may not have been mended."""
        known = {replay.record.offset for replay in taken if replay.letter.code == suspects.CODE}
        accused = [at for at, offset in enumerate(group.events.offsets.tolist()) if offset in known]
        if not accused:
            return group
        return suspects.without(group, await self._court.hear(group, accused))[0]

    def _replay(self, partition: int, record: port.Record) -> reparse.Replay:
        letter = dialects.decode(record.value, record.headers)
        key = (letter.id, letter.attempt)
        seen = key in self._seen[partition]
        self._seen[partition].add(key)
        again = self._second[partition].get(_attempt(letter, letter.attempt + 1), ())
        self.accounts.known_letters(partition).update(addresses.Position(record.offset, 0, item) for item in again)
        return reparse.Replay(record=record, letter=letter, seen=seen)


_Attempt = tuple[str, int, int, int, int]
"""Log id, partition, offset, ordinal and attempt of a letter: those of other tools come from more partitions than ours."""


def _attempt(letter: deadletters.DeadLetter, attempt: int | None = None) -> _Attempt:
    return letter.log_id, letter.partition, letter.offset, letter.ordinal, letter.attempt if attempt is None else attempt
