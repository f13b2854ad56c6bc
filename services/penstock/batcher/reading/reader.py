"""From the log into the open batch: one loop per lane, with the columnar work on the lane's worker thread.

A block is judged once per assignment, in offset order. Going back means a new assignment: the deduplication table is then
rebuilt from the blocks of its window before the lane's position.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import operator
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from concurrent import futures

import structlog

from penstock.batcher import accounts
from penstock.batcher import settings as lane_settings
from penstock.batcher.deadletters import letters, unreadable
from penstock.batcher.guarding import suspects
from penstock.batcher.reading import decoding, feed, holding, keeping, prepare, recall
from penstock.batcher.writing import dispatch
from penstock.core import addresses, deadletters, ledger, skips
from penstock.log import port

_log = structlog.get_logger()

_POLL_SECONDS = 0.5
_HELD_SECONDS = 2.0
_HEADER_PAGE = 256


class Reader:
    """An `AssignmentListener` and the loop that reads. Used from the lane's event loop only."""

    def __init__(
        self,
        settings: lane_settings.LaneSettings,
        log: port.EventLog,
        preparer: prepare.Preparer,
        lane_accounts: accounts.LaneAccounts,
        dispatcher: dispatch.Dispatcher,
        letter_writer: letters.LetterWriter,
        transformed: Callable[[int], None],
        worker: futures.Executor,
        commit: Callable[[], Awaitable[None]],
    ) -> None:
        """`commit` makes durable what the accounts say now; `transformed` hears how many rows each transform call made."""
        self._settings, self._log, self._preparer = settings, log, preparer
        self._feed = rows = feed.Feed(
            settings, preparer, worker, lane_accounts, dispatcher, letter_writer, transformed, self._room
        )
        self._accounts, self._dispatcher, self._letters = lane_accounts, dispatcher, letter_writer
        told, declared = settings.transform.state, preparer.declared
        self._recaller = recall.Recaller(settings, log, declared, rows.on_worker)
        types = recall.key_types(told, declared) if told else ()
        self.keeper = keeping.Keeper(settings, log, types, rows.on_worker)
        self._commit, self._court = commit, suspects.Court(settings)
        self._seeks: dict[int, int] = {}
        self._skips: dict[int, list[tuple[int, int]]] = {}
        self._running = asyncio.Event()
        self._running.set()
        self._resting = asyncio.Event()
        self._taking = False
        self._hold = holding.Hold(range(log.partitions))
        self._subscription: port.Subscription | None = None
        self.assigned = False
        """Whether the log has said which partitions are this lane's."""
        self.partitions: Sequence[int] = ()
        """Those it said last, also where the lane could not begin with them."""
        self._assignments = 0

    def pause(self) -> None:
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    async def rest(self) -> None:
        """Pause, and return when nothing that was read is still to be made into rows."""
        self._resting.clear()
        self.pause()
        await self._resting.wait()

    # -- assignment

    async def on_assigned(self, commits: Mapping[int, port.Commit | None]) -> None:
        self.partitions = sorted(commits)
        for partition, commit in commits.items():
            await self._assign(partition, commit)
        self.assigned = True
        self._assignments += 1
        self._hold.extend(self._subscription)
        if self._settings.alone:
            return
        _log.info("partitions_assigned", sink=self._settings.sink, partitions=sorted(commits))

    async def _assign(self, partition: int, commit: port.Commit | None) -> None:
        if commit is None:
            offset = self._seeks[partition] = (await self._log.bounds(port.EVENTS, partition)).start
            metadata = ledger.LaneMetadata(start_offset=offset)
        else:
            offset, metadata = commit.offset, ledger.from_metadata(commit.metadata)
        if (beyond := skips.end_of(metadata.skipped, offset)) is not None:
            offset = self._seeks[partition] = beyond
            metadata = dataclasses.replace(metadata, producers={})
        self._skips[partition] = [stretch for stretch in metadata.skipped if stretch[0] >= offset]
        end = (await self._log.bounds(port.EVENTS, partition)).end
        known = await self._remember(partition, offset, metadata)
        books = accounts.PartitionAccounts(offset, metadata)
        books.guard = suspects.Guard(offset, metadata, log_end=end)
        # Another process that is taken for dead may land what was appended since: that is no sign of an older log.
        self._accounts.open(partition, books, known, log_end=end if self._settings.alone else None)

    async def _remember(self, partition: int, offset: int, metadata: ledger.LaneMetadata) -> set[addresses.Position]:
        """Rebuild what the verdicts below `offset` depend on; rows at or above it that have letters already."""
        newest = await self._log.headers(port.EVENTS, partition, offset, limit=1)
        since = newest[0].append_time_microseconds if newest else 0
        self._preparer.forget(partition)
        recalled = await self._recaller.at(partition, offset, metadata.start_offset, metadata.skipped)
        memory = recalled.memory
        self._preparer.adopt(partition, memory.dedup, memory.keyed)
        await self.keeper.begin(partition, offset, recalled)
        return await self._letters.known(partition, since)

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        """What was read lands if it can within the bound, and is committed: the next owner has the less to do again."""
        await self._dispatcher.settle(self._settings.revoke_seconds, open_too=not self._taking)
        self._accounts.stopping()
        try:
            async with asyncio.timeout(self._settings.revoke_seconds / 2):
                await self._commit()
        except (port.PartitionLostError, port.LogUnavailableError, TimeoutError) as error:
            _log.warning("revoked_uncommitted", sink=self._settings.sink, error=str(error))
        await self._dispatcher.drop(partitions)
        for partition in partitions:
            self._seeks.pop(partition, None)
            self._accounts.close(partition)
            self._preparer.forget(partition)
            self._letters.seen.forget(partition)
            self.keeper.end(partition)

    # -- reading

    async def run(self, subscription: port.Subscription) -> None:
        """Read until cancelled. Raises OffsetOutOfRangeError on a gap, CorruptBlockError, BlockFormatError, LogError."""
        self._subscription = subscription
        while True:
            if not self._may_read():
                self._resting.set()
                await self._hold.until(subscription, self._may_read, self._may_read_again)
            try:
                await self._turn(subscription)
            except holding.RevokedError:
                _log.info("read_for_another", sink=self._settings.sink)
            except port.LogUnavailableError as error:
                _log.warning("log_unavailable", sink=self._settings.sink, error=str(error))
                await asyncio.sleep(_POLL_SECONDS)

    async def given_others(self, subscription: port.Subscription, may_go_on: Callable[[], bool]) -> None:
        """Read nothing, but stay a member of the group until it gives out its partitions anew."""
        self._resting.set()
        before = self._assignments
        while True:
            try:
                return await self._hold.until(
                    subscription, lambda: self._assignments != before and may_go_on(), asyncio.Event().wait
                )
            except Exception as error:
                # Most likely what has halted the lane: there is no more to tell, and somebody else may be given it.
                _log.debug("held", sink=self._settings.sink, error=str(error))
                await asyncio.sleep(_HELD_SECONDS)

    async def _turn(self, subscription: port.Subscription) -> None:
        if polled := await self._poll(subscription):
            self._settings.failpoint("lane.polled")
        try:
            for partition, records in by_partition(polled):
                for stretch in self._unskipped(partition, records):
                    await self._take_guarded(partition, stretch)
                self._pass_skipped(subscription, partition, records[-1].end)
        except (holding.RevokedError, port.LogUnavailableError):
            # A commit may be refused before the group has told that a partition is gone: to go on behind what is dropped here
            # would call it finished, to the store as well.
            for partition in {record.partition for record in polled} & set(self._accounts.assigned):
                subscription.seek(partition, self._accounts[partition].read_to)
            raise

    def _may_read(self) -> bool:
        return self._running.is_set() and self._dispatcher.has_room

    async def _may_read_again(self) -> None:
        await self._running.wait()
        await self._dispatcher.room()

    async def _room(self, partition: int) -> None:
        """Wait until rows of the partition may be made. Raises RevokedError when it has gone by then."""
        if self._dispatcher.has_room or self._subscription is None:
            return
        books, self._taking = self._accounts.get(partition), True
        try:
            await self._hold.until(self._subscription, lambda: self._dispatcher.has_room, self._dispatcher.room)
        finally:
            self._taking = False
        if self._accounts.get(partition) is not books:
            raise holding.RevokedError

    async def _poll(self, subscription: port.Subscription) -> Sequence[port.Record]:
        records = await subscription.poll(max_bytes=self._settings.poll_bytes, timeout_seconds=0.0)
        if self._seeks:
            # Assignment happens inside a poll; a lane begins where its books do, which may not be there.
            sought = self._seek(subscription)
            return [record for record in records if record.partition not in sought]
        if not records:
            self._dispatcher.nothing_unread = True
            self._dispatcher.wake()
            records = await subscription.poll(max_bytes=self._settings.poll_bytes, timeout_seconds=_POLL_SECONDS)
        if records:
            self._dispatcher.nothing_unread = False
        return records

    def _seek(self, subscription: port.Subscription) -> Collection[int]:
        """The partitions that go on somewhere else from now on."""
        sought, self._seeks = self._seeks, {}
        for partition, offset in sought.items():
            subscription.seek(partition, offset)
        return sought.keys()

    def _unskipped(self, partition: int, records: Sequence[port.Record]) -> Iterator[Sequence[port.Record]]:
        """The records outside of what a person has told to skip."""
        while (ahead := self._skips[partition]) and records and ahead[0][0] < records[-1].end:
            start, end = ahead.pop(0)
            before, rest = decoding.parted(records, start)
            if before:
                yield before
            self._accounts[partition].skip(end)
            _, records = decoding.parted(rest, end)
        if records:
            yield records

    def _pass_skipped(self, subscription: port.Subscription, partition: int, position: int) -> None:
        """What can't be read must not be asked for: go on behind it."""
        while (ahead := self._skips[partition]) and ahead[0][0] <= position:
            _, end = ahead.pop(0)
            self._accounts[partition].skip(end)
            if end > position:
                subscription.seek(partition, end)
                position = end

    async def _take_guarded(self, partition: int, records: Sequence[port.Record]) -> None:
        """Blocks that may have killed the process go one by one, and are named in a commit before."""
        guard = self._accounts[partition].guard
        assert guard is not None  # noqa: S101 - every partition of the main log is opened with one
        for stretch in guard.stretches(records):
            careful = guard.is_careful(stretch[0].offset)
            if careful:
                guard.name(stretch[0].offset)
            if guard.begin() or careful:
                await self._commit_patiently()
            for portion in prepare.portions(stretch, self._settings.decoded_bytes):
                await self._room(partition)
                await self._take(partition, portion)

    async def _commit_patiently(self) -> None:
        """However long the log is away. Raises RevokedError."""
        while True:
            try:
                return await self._commit()
            except port.PartitionLostError as error:
                raise holding.RevokedError from error
            except port.LogUnavailableError:
                await asyncio.sleep(_POLL_SECONDS)

    async def _take(self, partition: int, records: Sequence[port.Record]) -> None:
        fresh, lost = self._fresh(self._accounts[partition], records)
        if not fresh:
            return
        group = await self._feed.on_worker(self._preparer.read, partition, fresh)
        self._letters.seen.remember(group, self._accounts[partition].position)
        runs = None
        if (guard := self._accounts[partition].guard) and guard.is_accused(fresh[0].offset):
            group, runs = suspects.without(group, await self._court.hear(group))
        for verdict in group.blocks:
            self._accounts[partition].started(verdict, lost=lost[verdict.offset])
        await self.keeper.read(
            partition,
            offset=fresh[-1].end,
            blocks=len(fresh),
            events=sum(verdict.events for verdict in group.blocks),
            known=self._preparer.states.get(partition),
        )
        await self._refuse_whole(group)
        appended = group.blocks[0].append_time_microseconds
        age = time.time() - appended / 1e6 if appended else 0.0
        born = time.monotonic() - max(0.0, age)
        await self._feed.take(group, born, runs)

    def _fresh(
        self, part: accounts.PartitionAccounts, records: Sequence[port.Record]
    ) -> tuple[list[port.Record], dict[int, int]]:
        """The blocks that are no re-sends, and how many blocks are missing before each."""
        fresh, lost = [], {}
        for record in records:
            if part.is_resent(record.producer, record.sequence):
                part.resent(record.offset)
            else:
                lost[record.offset] = part.missing_before(record.producer, record.sequence)
                fresh.append(record)
        return fresh, lost

    async def _refuse_whole(self, group: prepare.Group) -> None:
        """Letters for the events that make no rows at all."""
        for verdict in group.blocks:
            failed = [
                letters.Failed(
                    place=verdict.position(ordinal),
                    item=None,
                    category=deadletters.Category.TOO_LARGE,
                    stage="transform",
                    code="TooManyRows",
                    message=self._preparer.too_large_message,
                )
                for ordinal in verdict.too_large
            ]
            failed += [suspects.letter(place, how) for place, how in verdict.killers.items()]
            failed += unreadable.failed(self._settings, verdict)
            if failed:
                await self._letters.write(group.partition, failed)
                self._accounts[group.partition].events_dead_lettered(verdict.offset, len(failed))


def by_partition(records: Sequence[port.Record]) -> list[tuple[int, list[port.Record]]]:
    """Records of a poll by partition, in offset order."""
    ordered = sorted(records, key=operator.attrgetter("partition", "offset"))
    return [(partition, list(found)) for partition, found in itertools.groupby(ordered, operator.attrgetter("partition"))]
