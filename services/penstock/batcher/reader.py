"""From the log into the open batch: one loop per lane, with the columnar work on the lane's worker thread.

A block is judged once per assignment, in offset order. Going back means a new assignment: the deduplication table is then
rebuilt from the blocks of its window before the lane's position.
"""

from __future__ import annotations

import asyncio
import itertools
import operator
import time
from collections.abc import Mapping, Sequence

from penstock.batcher import accounts, dispatch, feed, letters, prepare
from penstock.batcher import settings as lane_settings
from penstock.core import addresses, blocks, deadletters, dedup, ledger
from penstock.log import port

_POLL_SECONDS = 0.5
_HEADER_PAGE = 256
_REBUILD_BYTES = 16 * 1024 * 1024


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
        rows: feed.Feed,
    ) -> None:
        self._settings, self._log, self._preparer, self._feed = settings, log, preparer, rows
        self._accounts, self._dispatcher, self._letters = lane_accounts, dispatcher, letter_writer
        self._seeks: dict[int, int] = {}
        self._running = asyncio.Event()
        self._running.set()
        self.assigned = False
        """Whether the log has said which partitions are this lane's."""

    def pause(self) -> None:
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    # -- assignment

    async def on_assigned(self, commits: Mapping[int, port.Commit | None]) -> None:
        for partition, commit in commits.items():
            await self._assign(partition, commit)
        self.assigned = True

    async def _assign(self, partition: int, commit: port.Commit | None) -> None:
        if commit is None:
            offset = self._seeks[partition] = await self._first_offset(partition)
            metadata = ledger.LaneMetadata(start_offset=offset)
        else:
            offset, metadata = commit.offset, ledger.from_metadata(commit.metadata)
        end = (await self._log.bounds(port.EVENTS, partition)).end
        known = await self._remember(partition, offset, metadata.start_offset)
        self._accounts.open(partition, accounts.PartitionAccounts(offset, metadata), known, log_end=end)

    async def _first_offset(self, partition: int) -> int:
        bounds = await self._log.bounds(port.EVENTS, partition)
        return bounds.end if self._settings.start_from is lane_settings.StartFrom.NOW else bounds.start

    async def _remember(self, partition: int, offset: int, lane_start: int) -> set[addresses.Position]:
        """Rebuild what the verdicts below `offset` depend on; rows at or above it that have letters already."""
        newest = await self._log.headers(port.EVENTS, partition, offset, limit=1)
        since = newest[0].append_time_microseconds if newest else 0
        self._preparer.forget(partition)
        if told := self._settings.deduplicate:
            await self._rebuild(partition, await self._window_start(told, partition, offset, lane_start), offset)
        return await self._letters.known(partition, since)

    async def _window_start(self, told: lane_settings.Deduplicate, partition: int, offset: int, lane_start: int) -> int:
        """The first offset that can matter for an event at `offset`: enough events back, or old enough, or the lane's start."""
        below: list[port.Record] = []
        needed, before = 0, offset
        while needed == len(below) and before > lane_start:
            page = await self._log.headers(port.EVENTS, partition, before, limit=_HEADER_PAGE)
            below += [record for record in page if record.offset >= lane_start]
            before = page[-1].offset if page else lane_start
            needed = dedup.rebuild_blocks(
                ((record.append_time_microseconds, blocks.read_header(record.headers).rows) for record in below),
                window_microseconds=told.window_microseconds,
                max_events=told.max_events,
            )
        return below[needed - 1].offset if needed else offset

    async def _rebuild(self, partition: int, start: int, end: int) -> None:
        while start < end:
            records = await self._log.read(port.EVENTS, partition, start, max_bytes=_REBUILD_BYTES)
            wanted = [record for record in records if record.offset < end]
            if not wanted:
                return
            await self._feed.on_worker(self._preparer.remember, partition, wanted)
            start = wanted[-1].offset + 1

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        for partition in partitions:
            self._dispatcher.drop(partition)
            self._accounts.close(partition)
            self._preparer.forget(partition)

    # -- reading

    async def run(self, subscription: port.Subscription) -> None:
        """Read until cancelled. Raises OffsetOutOfRangeError on a gap, CorruptBlockError, BlockFormatError, LogError."""
        while True:
            await self._running.wait()
            await self._dispatcher.room()
            for partition, records in by_partition(await self._poll(subscription)):
                await self._take(partition, records)

    async def _poll(self, subscription: port.Subscription) -> Sequence[port.Record]:
        records = await subscription.poll(max_bytes=self._settings.poll_bytes, timeout_seconds=0.0)
        if self._seeks:
            # Assignment happens inside a poll; a lane that never committed begins where it was told to, not there.
            return self._seek(subscription)
        if not records:
            self._dispatcher.nothing_unread = True
            self._dispatcher.wake()
            records = await subscription.poll(max_bytes=self._settings.poll_bytes, timeout_seconds=_POLL_SECONDS)
        if records:
            self._dispatcher.nothing_unread = False
        return records

    def _seek(self, subscription: port.Subscription) -> Sequence[port.Record]:
        for partition, offset in self._seeks.items():
            subscription.seek(partition, offset)
        self._seeks = {}
        return ()

    async def _take(self, partition: int, records: Sequence[port.Record]) -> None:
        fresh, lost = self._fresh(self._accounts[partition], records)
        if not fresh:
            return
        group = await self._feed.on_worker(self._preparer.read, partition, fresh)
        for verdict in group.blocks:
            self._accounts[partition].started(verdict, lost=lost[verdict.offset])
        await self._refuse_large(group)
        age = time.time() - group.blocks[0].append_time_microseconds / 1e6
        born = time.monotonic() - max(0.0, age)
        await self._feed.take(group, born)

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

    async def _refuse_large(self, group: prepare.Group) -> None:
        for verdict in group.blocks:
            if not verdict.too_large:
                continue
            limit = self._settings.event_rows
            failed = [
                letters.Failed(
                    place=addresses.Position(verdict.offset, ordinal),
                    item=None,
                    category=deadletters.Category.TOO_LARGE,
                    stage="transform",
                    code="TooManyRows",
                    message=f"the event makes more than {limit:,} rows; send smaller arrays",
                )
                for ordinal in verdict.too_large
            ]
            await self._letters.write(group.partition, failed)
            self._accounts[group.partition].events_dead_lettered(verdict.offset, len(failed))


def by_partition(records: Sequence[port.Record]) -> list[tuple[int, list[port.Record]]]:
    """Records of a poll by partition, in offset order."""
    ordered = sorted(records, key=operator.attrgetter("partition", "offset"))
    return [(partition, list(found)) for partition, found in itertools.groupby(ordered, operator.attrgetter("partition"))]
