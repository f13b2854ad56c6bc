"""The lane's side of a store that knows tokens: no write leaves before what it is made of is durable.

A batch is of one partition. Its plan stands in that partition's offset metadata until the offset has passed it, and whoever
reads those blocks again sends the same rows in the same pieces (`resuming`). docs/design/0016-plans-before-writes.md.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Awaitable, Callable, Sequence

import structlog

from penstock.batcher import accounts
from penstock.batcher import settings as lane_settings
from penstock.batcher.writing import resuming
from penstock.core import addresses, plans
from penstock.core.batching import builder, chunks
from penstock.log import port

_log = structlog.get_logger()

_RETRY_SECONDS = 1.0
_LOST_SECONDS = 60.0


class LostPartitionError(Exception):
    """The partition belongs to somebody else by now, who has its plans too: this batch is theirs."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """A batch as a process before this one has planned it; or rows between such batches, which are planned anew."""

    batch: builder.Batch
    plan: plans.Plan | None


class Ticket:
    """One batch's plan while its rows are on their way."""

    def __init__(self, planner: Planner, whole: addresses.Range, book: plans.Book, plan: plans.Plan, *, resumed: bool) -> None:
        self._planner, self._book, self.whole, self.resumed = planner, book, whole, resumed
        # As it was at the start: by the end the book may have forgotten it, or made it one with its neighbour.
        self._plan = plan
        self._cutting: asyncio.Lock | None = None

    async def ready(self) -> None:
        """Return when a write may leave. Raises LogError, LostPartitionError."""
        if not self.resumed:
            await self._commit()
        elif self._plan.cuts:
            await self._turn()

    def pieces(self, table: str) -> list[tuple[addresses.Range, bool]]:
        """The stretches in which the rows for `table` are written, in order, and whether each has been settled."""
        found = self._plan.pieces(self._planner.place_of(table))
        return [(dataclasses.replace(self.whole, start=start, end=end), settled) for start, end, settled in found]

    async def cut(self, table: str, at: addresses.Position) -> None:
        """Return when it is durable that a piece ends at `at`. One batch of a partition at a time is cut: that bounds what
        its plans take up. Raises LogError, LostPartitionError."""
        await self._turn()
        known = self._cut_of(table)
        self._put(table, dataclasses.replace(known, at=tuple(sorted({*known.at, at}))))
        await self._commit()

    def passed(self, table: str, until: addresses.Position) -> None:
        """Every row for `table` below `until` has its outcome; made durable with whatever is committed next."""
        known = self._cut_of(table)
        if known.at and self.whole.start in self._book:
            self._put(table, plans.Cut(settled=until, at=tuple(place for place in known.at if place > until)))

    def settled(self) -> None:
        """Each row of the batch has its outcome."""
        if self._planner.owns(self.whole.partition, self._book):
            self._book.settle(self.whole.start)

    def close(self) -> None:
        """The batch is settled or given up."""
        if self._cutting is not None:
            self._cutting.release()
            self._cutting = None

    def _cut_of(self, table: str) -> plans.Cut:
        known = self.whole.start in self._book
        cuts = self._book[self.whole.start].cuts if known else self._plan.cuts
        return cuts.get(self._planner.place_of(table), plans.Cut())

    def _put(self, table: str, cut: plans.Cut) -> None:
        self._book.cut(self.whole.start, self._planner.place_of(table), cut)

    async def _turn(self) -> None:
        if self._cutting is None:
            turn = self._planner.turn(self.whole.partition)
            await turn.acquire()
            self._cutting = turn

    async def _commit(self) -> None:
        await self._planner.commit()
        if not self._planner.owns(self.whole.partition, self._book):
            raise LostPartitionError(f"partition {self.whole.partition} was revoked")


class Planner:
    """The plans of one way in. `commit` makes durable what the accounts say; `told` hears what can't be kept."""

    def __init__(
        self,
        settings: lane_settings.LaneSettings,
        lane_accounts: accounts.LaneAccounts,
        commit: Callable[[], Awaitable[None]],
        told: Callable[[str], None],
    ) -> None:
        self._settings, self._accounts, self._commit, self._told = settings, lane_accounts, commit, told
        self._met: dict[int, tuple[plans.Book, resuming.Resumption]] = {}
        self._turns: dict[int, asyncio.Lock] = {}
        self._ready: collections.deque[Resumed] = collections.deque()

    async def commit(self) -> None:
        """However long the log has no room or is away. Raises LogError, LostPartitionError."""
        while True:
            try:
                return await self._commit()
            except (port.LogFullError, port.LogUnavailableError) as error:
                _log.warning("plan_waits", sink=self._settings.sink, error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
            except port.PartitionLostError as error:
                # The lane hears of it at its next poll, which ends this task; until then the rows count as under way.
                _log.info("plan_lost", sink=self._settings.sink, error=str(error))
                await asyncio.sleep(_LOST_SECONDS)
                raise LostPartitionError(str(error)) from error

    # -- before anything new

    def route(self, chunk: chunks.Chunk) -> chunks.Chunk | None:
        """What of the chunk goes into the open batch; the rest is planned already and comes back from `next`."""
        ahead = self._resumption(chunk.range.partition)
        if not ahead:
            return chunk
        portions, rest = ahead.take(chunk)
        self._queue(chunk.range.partition, portions)
        return rest

    def passed(self, stretch: addresses.Range) -> None:
        """A stretch was read that made no rows."""
        if ahead := self._resumption(stretch.partition):
            self._queue(stretch.partition, ahead.passed(stretch.end))

    def finish(self) -> None:
        """What was read is made into rows, and nothing is left to read."""
        for partition in self._accounts.assigned:
            if ahead := self._resumption(partition):
                self._queue(partition, ahead.passed(addresses.Position(self._accounts[partition].read_to)))

    def drop(self, partition: int) -> None:
        """The partition was revoked."""
        self._met.pop(partition, None)
        self._ready = collections.deque(one for one in self._ready if one.batch.chunks[0].range.partition != partition)

    @property
    def waiting(self) -> bool:
        """Whether a batch is there that `next` gives."""
        return bool(self._ready) and (
            self._ready[0].plan is not None or self.has_room(self._ready[0].batch.chunks[0].range.partition)
        )

    def next(self) -> Resumed:
        return self._ready.popleft()

    @property
    def rows(self) -> int:
        """Rows that are held here."""
        return sum(one.batch.rows for one in self._ready) + sum(ahead.rows for _, ahead in self._met.values())

    @property
    def bytes(self) -> int:
        return sum(one.batch.bytes for one in self._ready) + sum(ahead.bytes for _, ahead in self._met.values())

    def _resumption(self, partition: int) -> resuming.Resumption:
        book = self._accounts[partition].plans
        known = self._met.get(partition)
        if known is None or known[0] is not book:
            known = self._met[partition] = (book, resuming.Resumption(self._kept(partition, book)))
        return known[1]

    def _kept(self, partition: int, book: plans.Book) -> Sequence[plans.Plan]:
        """Rows can be made only as this revision makes them: a token of another one would stand for other rows."""
        given_up = book.keep(self._settings.rows_revision)
        if given_up:
            first, last = given_up[0].start, given_up[-1].end
            what = (
                f"partition {partition}, from {_shown(first)} to {_shown(last)}: {len(given_up)} batches were on their way when"
                " the pipeline was edited; their rows are made by the new revision, and may stand in the store twice"
            )
            _log.error("planned_by_another_revision", sink=self._settings.sink, what=what)
            self._told(what)
        return book.plans

    def _queue(self, partition: int, portions: Sequence[resuming.Portion]) -> None:
        for portion in portions:
            if portion.chunks:
                self._ready.append(Resumed(batch=_batch(portion.chunks), plan=portion.plan))
            elif portion.plan is not None:
                self._accounts[partition].plans.settle(portion.plan.start)

    # -- each batch

    def has_room(self, partition: int) -> bool:
        """Whether one more batch may begin."""
        book = self._accounts.planned(partition)
        return book is None or book.has_room

    def begin(self, batch: builder.Batch, plan: plans.Plan | None = None) -> Ticket:
        """Note the batch; it may leave when the ticket is `ready`. Raises LostPartitionError."""
        ranges = batch.ranges
        whole = dataclasses.replace(ranges[0], end=ranges[-1].end)
        book = self._accounts.planned(whole.partition)
        if book is None:
            raise LostPartitionError(f"partition {whole.partition} was revoked")
        if plan is not None:
            return Ticket(self, dataclasses.replace(whole, start=plan.start, end=plan.end), book, plan, resumed=True)
        plan = book.begin(whole.start, whole.end, self._settings.rows_revision)
        return Ticket(self, whole, book, plan, resumed=False)

    def owns(self, partition: int, book: plans.Book) -> bool:
        """Whether the partition is still the one that `book` was opened with."""
        return self._accounts.planned(partition) is book

    def turn(self, partition: int) -> asyncio.Lock:
        return self._turns.setdefault(partition, asyncio.Lock())

    def place_of(self, table: str) -> int:
        """Where a table stands in the sink's list, which the revision is about too."""
        return self._settings.tables.index(table)


def _batch(parts: Sequence[chunks.Chunk]) -> builder.Batch:
    return builder.Batch(
        chunks=parts,
        reason=builder.Reason.RESUMED,
        rows=sum(part.rows.num_rows for part in parts),
        bytes=sum(part.bytes for part in parts),
        born=min(part.born for part in parts),
    )


def _shown(place: addresses.Position) -> str:
    return f"offset {place.offset}" + (f" event {place.ordinal}" if place.ordinal else "")
