"""One batch to the store: pieces by table, tried until each is durable, trimmed, or dead-lettered row by row.

The class of a failure decides (docs/delivery.md). An outage is retried for ever and never uses anything up; a
misconfiguration halts the lane and is looked at again now and then; a row the store refuses is dead-lettered and the rest
written again under the same ranges.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import structlog

from penstock.batcher import accounts
from penstock.batcher import settings as lane_settings
from penstock.batcher.deadletters import letters
from penstock.batcher.writing import pieces, planning, sink_client
from penstock.core import addresses, breaker, deadletters, delivery, results, retry
from penstock.core.batching import builder, chunks, pressure
from penstock.core.transform import spec
from penstock.telemetry import metrics

_log = structlog.get_logger()

_CATEGORIES = {results.ResultClass.UNCLASSIFIED: deadletters.Category.UNCLASSIFIED}
_HIDDEN = (spec.EVENT_COLUMN, spec.ITEM_COLUMN, spec.TABLE_COLUMN)
_CONFIG_RETRY_SECONDS = 10.0
_CIRCUIT_LOOK_SECONDS = 0.25
_FLOOR_BACKOFFS = 5
"""One retry per so many of the shortest pauses is always affordable."""


class RewoundLogError(Exception):
    """The store knows ranges of this log that this process has appended and never sent: the log is an older copy of itself,
    and what is new in it would be taken for what landed under the same offsets."""


class Lander:
    """Writes the batches of one lane. `land` runs once per slot, concurrently; it returns only when the batch is settled."""

    def __init__(
        self,
        settings: lane_settings.LaneSettings,
        client: sink_client.SinkClient,
        letter_writer: letters.Letters,
        circuit: breaker.Breaker,
        lane_accounts: accounts.LaneAccounts,
        clock: Callable[[], float] = time.monotonic,
        *,
        beside: Lander | None = None,
    ) -> None:
        """`beside` lands other rows in the same store: what it lands shows as well that the store works."""
        self._beside = beside
        floor_seconds = settings.retry.initial_seconds * _FLOOR_BACKOFFS
        self.budget: retry.Budget = beside.budget if beside else retry.Budget(floor_seconds=floor_seconds)
        self.pressure: pressure.Pressure = beside.pressure if beside else pressure.Pressure()
        self._settings, self._client, self._letters = settings, client, letter_writer
        self._circuit, self._accounts, self._clock = circuit, lane_accounts, clock
        self._turns = asyncio.Semaphore(1)
        self._landings = 0
        self._trial = -1
        self.troubled = 0
        """Batches whose failures no rule knows. They give up their slot between attempts, so that others can show whether the
        store works."""
        self.when_troubled: Callable[[], None] = lambda: None
        """Called whenever a batch gives up its slot for a while, and when the store asks for less."""
        self.settled_rows = 0
        """Rows of batches still under way that have their outcome: a batch may lose some to dead letters long before it lands."""
        self.failure: results.Failure | None = None
        """Why nothing can land until a person acts; None while batches land."""
        self.last_failure: results.Failure | None = None
        """Of the last write, when it failed as a whole."""
        self._returns = 0

    @property
    def landings(self) -> int:
        """Writes of the store's that have succeeded since the start."""
        return self._landings + (self._beside.landings if self._beside else 0)

    def bound(self, slots: int) -> None:
        """How many writes may be under way at once."""
        self._turns = asyncio.Semaphore(slots)

    def follow(self, settings: lane_settings.LaneSettings) -> None:
        """From the next attempt on."""
        self._settings = settings

    async def land(self, batch: builder.Batch, ticket: planning.Ticket | None = None) -> float:
        """Settle every row of the batch; the seconds of the last successful write (0.0 when none was needed).

        With a `ticket` in the pieces that it says and no others. Raises RewoundLogError, LogError, LostPartitionError.
        """
        seconds = 0.0
        for whole in pieces.of(batch, self._settings.tables[0]):
            for piece, ranges in self._planned(whole, ticket) if ticket else ((whole, batch.ranges),):
                told = self._settings.unclassified_attempts
                landed = await self._land_piece(piece, ranges, patience=told, since=self.landings, ticket=ticket)
                seconds = max(seconds, landed)
        return seconds

    def _planned(self, whole: pieces.Piece, ticket: planning.Ticket) -> Iterator[tuple[pieces.Piece, Sequence[addresses.Range]]]:
        """What is left to land of a planned piece, and the range of each part, which its token is made of."""
        for stretch, settled in ticket.pieces(whole.table):
            piece = whole
            if stretch != ticket.whole:
                piece = pieces.Piece(table=whole.table, parts=[part.inside([stretch]) for part in whole.parts])
            if settled:
                for part in piece.parts:
                    self._count_landed(part)
                continue
            if ticket.resumed:
                piece = pieces.Piece(table=piece.table, parts=[self._unlettered(part) for part in piece.parts])
            yield piece, [stretch]
            ticket.passed(whole.table, stretch.end)

    def _unlettered(self, part: chunks.Chunk) -> chunks.Chunk:
        """Without the rows that have a letter of a process before this one: they were never in the store, nor in its token."""
        known = self._accounts.known_letters(part.range.partition)
        if not known:
            return part
        refused = part.at(known)
        self._refused(part.where(refused))
        return part.where(~refused)

    async def _land_piece(
        self,
        piece: pieces.Piece,
        ranges: Sequence[addresses.Range],
        *,
        patience: int,
        since: int,
        tried: bool = False,
        ticket: planning.Ticket | None = None,
    ) -> float:
        """`patience`: attempts before a failure that no rule knows is looked for row by row; `since`: landings before it;
        `tried`: whether these rows may have reached the store already. Raises RewoundLogError."""
        attempt, seconds = 0, 0.0
        while piece.rows:
            if not attempt:
                self.budget.first_try()
            await self._permission()
            began = self._clock()
            generation = self._circuit.generation
            try:
                result, twice = await self._write(piece, ranges)
            except delivery.WriteFailedError as error:
                attempt, tried = attempt + 1, True
                unknown = error.failure.result_class is results.ResultClass.UNCLASSIFIED
                refused = error.failure.result_class is results.ResultClass.DATA
                if refused:
                    self._circuit.record(self._clock(), generation, results.ResultClass.DATA)
                if (refused or (unknown and attempt >= patience)) and piece.rows > 1:
                    return await self._bisect(piece, ranges, since, ticket)
                if refused or (unknown and attempt >= patience and self.landings > since):
                    await self._give_up(piece, error.failure)
                    return seconds
                with self._giving_way(unknown):
                    await self._failed(error, generation, attempt)
                continue
            attempt, seconds, tried = 0, self._clock() - began, tried or twice
            self._circuit.record(self._clock(), generation, None)
            self.failure = self.last_failure = None
            self._landings += 1
            if not tried and self._is_rewound(piece, result.already_landed):
                raise RewoundLogError(f"the store has had {result.already_landed[0]} before it was appended here")
            tried = True
            piece, ranges = await self._settle(piece, ranges, result)
        return seconds

    @contextlib.contextmanager
    def _giving_way(self, unknown: bool) -> Iterator[None]:
        self.troubled += unknown
        if unknown:
            self.when_troubled()
        try:
            yield
        finally:
            self.troubled -= unknown

    async def _bisect(
        self, piece: pieces.Piece, ranges: Sequence[addresses.Range], since: int, ticket: planning.Ticket | None
    ) -> float:
        """Land the halves on their own. Only a row that is refused alone is ever given up; for a reason that no rule knows,
        only while others land."""
        self._settings.failpoint("lane.bisecting")
        seconds = 0.0
        halves = list(pieces.halves(piece))
        owns = [addresses.intersect(ranges, [part.range for part in half.parts]) for half in halves]
        if ticket:
            owns = await pieces.cut(halves, ranges[0], ticket)
        for half, own in zip(halves, owns, strict=True):
            patience = 1 if half.rows > 1 else self._settings.unclassified_attempts
            landed = await self._land_piece(half, own, patience=patience, since=since, tried=True, ticket=ticket)
            seconds = max(seconds, landed)
            if ticket:
                ticket.passed(piece.table, own[0].end)
        return seconds

    async def _give_up(self, piece: pieces.Piece, failure: results.Failure) -> None:
        """Dead-letter the one row of the piece."""
        (part,) = (part for part in piece.parts if part.rows.num_rows)
        refused = results.RejectedRow(row=0, result_class=failure.result_class, code=failure.code, message=failure.message)
        await self._dead_letter(part, {0: refused})

    async def _permission(self) -> None:
        """Wait until the circuit lets a write through."""
        while not self._circuit.allow(self._clock()):
            self._look_for_returns()
            await asyncio.sleep(min(_CIRCUIT_LOOK_SECONDS, max(0.01, self._circuit.retry_in_seconds(self._clock()))))
        if self._circuit.state is breaker.State.HALF_OPEN and self._trial != self._circuit.generation:
            self._trial = self._circuit.generation
            self._client.forgive()

    def _look_for_returns(self) -> None:
        """A sink that was gone and can be reached again is a reason to try at once."""
        if (returns := self._client.returns()) != self._returns:
            self._returns = returns
            self._circuit.look_now(self._clock())

    async def _rest(self, seconds: float, generation: int) -> None:
        """Between two tries of a write that found nobody. `generation` was the circuit's before it: one that has closed again
        since shows that the store is back, and nobody waits for what is there."""
        until, returns = self._clock() + seconds, self._client.returns()
        while (left := until - self._clock()) > 0.0 and self._client.returns() == returns:
            if self._circuit.generation != generation and self._circuit.state is breaker.State.CLOSED:
                return
            await asyncio.sleep(min(_CIRCUIT_LOOK_SECONDS, left))

    async def _write(self, piece: pieces.Piece, ranges: Sequence[addresses.Range]) -> tuple[delivery.WriteResult, bool]:
        """And whether it was sent twice, so that what had landed before may be the other copy's doing."""
        hidden = [name for name in _HIDDEN if name in piece.parts[0].rows.column_names]
        rows = pa.concat_tables([part.rows for part in piece.parts]).drop_columns(hidden)
        if self._settings.row_addresses:
            places = pa.concat_tables([part.row_addresses() for part in piece.parts])
            rows = pa.Table.from_arrays([*rows.columns, *places.columns], names=[*rows.column_names, *places.column_names])
        batch = delivery.SinkBatch(
            lane=self._settings.lane,
            table=piece.table,
            ranges=ranges,
            token=pieces.token(self._settings.lane, piece.table, ranges, rows.num_rows, self._appended(piece)),
            finished_below=self._accounts.finished_below(),
            key_columns=(),
            rows=rows,
        )
        twice = asyncio.Event()
        async with self._turns:
            seconds = self._settings.limits.write_timeout_seconds
            result = await self._client.write(batch, deadline_seconds=seconds, repeating=twice.set)
        self._settings.failpoint("lane.answered")
        return result, twice.is_set()

    def _appended(self, piece: pieces.Piece) -> int:
        part = next(part for part in reversed(piece.parts) if part.rows.num_rows)
        return self._accounts.appended_at(part.range.partition, int(part.row_blocks[-1]))

    async def _failed(self, error: delivery.WriteFailedError, generation: int, attempt: int) -> None:
        self.last_failure = failure = error.failure
        self._tell(error, attempt)
        # The circuit sorts the classes itself, and a trial without an outcome would hold the next one back. What is one
        # endpoint's fault opens nothing: the next try goes elsewhere.
        outcome = results.ResultClass.UNCLASSIFIED if error.elsewhere else failure.result_class
        self._circuit.record(self._clock(), generation, outcome)
        if failure.result_class is results.ResultClass.CONFIG:
            self.failure = failure
            await asyncio.sleep(_CONFIG_RETRY_SECONDS)
            return
        if failure.result_class is results.ResultClass.PRESSURE:
            self.pressure.felt(self._clock())
            self.when_troubled()
        told = self._settings.retry
        seconds = retry.delay_seconds(
            0 if error.elsewhere else attempt - 1,
            initial_seconds=told.initial_seconds,
            maximum_seconds=told.maximum_seconds,
            fraction=random.random(),  # noqa: S311 - spreads retries, guards nothing
            retry_after_seconds=failure.retry_after_seconds,
        )
        if failure.result_class is results.ResultClass.OUTAGE and not failure.retry_after_seconds:
            await self._rest(seconds, generation)
        else:
            await asyncio.sleep(seconds)
        await self._affordable()

    def _tell(self, error: delivery.WriteFailedError, attempt: int) -> None:
        failure, labels = error.failure, self._settings.labels
        _log.warning(
            "write_failed",
            sink=self._settings.sink,
            result_class=failure.result_class.value,
            code=failure.code,
            message=failure.message,
            attempt=attempt,
        )
        metrics.RETRIES.labels(**labels, result_class=failure.result_class.value).inc()
        if error.timed_out:
            metrics.WRITE_TIMEOUTS.labels(**labels).inc()

    async def _affordable(self) -> None:
        """Wait until the lane's budget has room for one more retry."""
        began = self._clock()
        while (wait := self.budget.spend(self._clock())) > 0.0:  # noqa: ASYNC110 - the budget is pure, nothing can notify
            await asyncio.sleep(min(_CIRCUIT_LOOK_SECONDS, wait))
        metrics.RETRY_BUDGET_SECONDS.labels(**self._settings.labels).inc(self._clock() - began)

    async def _settle(
        self, piece: pieces.Piece, ranges: Sequence[addresses.Range], result: delivery.WriteResult
    ) -> tuple[pieces.Piece, Sequence[addresses.Range]]:
        """What is left of the piece after an answer, and the ranges it still stands for."""
        if result.already_landed:
            landed = addresses.merge(result.already_landed)
            return self._trim(piece, landed), addresses.subtract(ranges, landed)
        if result.rejected or result.written_rows:
            return await self._settle_rows(piece, result), ranges
        for part in piece.parts:
            self._written(part)
        return pieces.Piece(table=piece.table, parts=()), ranges

    def _is_rewound(self, piece: pieces.Piece, landed: Sequence[addresses.Range]) -> bool:
        """Whether the store knows rows that nobody can have sent. A block without rows finishes by itself: that it may know."""
        new = [fresh for stretch in landed if (fresh := self._accounts.came_since(stretch))]
        inside = ([common for one in new if (common := one.intersect(part.range))] for part in piece.parts)
        return any(part.inside(found).rows.num_rows for part, found in zip(piece.parts, inside, strict=True))

    def _trim(self, piece: pieces.Piece, landed: list[addresses.Range]) -> pieces.Piece:
        """Take out rows that landed before; those with a letter of their own were never in the store."""
        left = []
        for part in piece.parts:
            inside = [common for stretch in landed if (common := stretch.intersect(part.range))]
            self._count_landed(part.inside(inside))
            left.append(part.outside(inside))
        return pieces.Piece(table=piece.table, parts=left)

    def _written(self, part: chunks.Chunk) -> None:
        self.settled_rows += part.rows.num_rows
        self._accounts.written(part.range.partition, part.rows_by_block())

    def _refused(self, part: chunks.Chunk) -> None:
        self.settled_rows += part.rows.num_rows
        self._accounts.refused(part.range.partition, part.rows_by_block())

    def _count_landed(self, part: chunks.Chunk) -> None:
        known = self._accounts.known_letters(part.range.partition)
        refused = part.at(known) if known else np.zeros(part.rows.num_rows, dtype=bool)
        self._written(part.where(~refused))
        self._refused(part.where(refused))

    async def _settle_rows(self, piece: pieces.Piece, result: delivery.WriteResult) -> pieces.Piece:
        """Count the rows that are durable, write letters for the refused ones, and go on with the rest."""
        written = np.zeros(piece.rows, dtype=bool)
        for stretch in result.written_rows:
            written[stretch.start : stretch.end] = True
        left, first = [], 0
        for part in piece.parts:
            last = first + part.rows.num_rows
            refusals = {refusal.row - first: refusal for refusal in result.rejected if first <= refusal.row < last}
            left.append(await self._settle_part(part, written[first:last], refusals))
            first = last
        return pieces.Piece(table=piece.table, parts=left)

    async def _settle_part(
        self, part: chunks.Chunk, written: chunks.Mask, refusals: Mapping[int, results.RejectedRow]
    ) -> chunks.Chunk:
        settled = written.copy()
        if written.any():
            self._written(part.where(written))
        if refusals:
            await self._dead_letter(part, refusals)
            settled[list(refusals)] = True
        return part.where(~settled) if settled.any() else part

    async def _dead_letter(self, part: chunks.Chunk, refusals: Mapping[int, results.RejectedRow]) -> None:
        places = part.places(sorted(refusals))
        failed = [
            letters.Failed(
                place=dataclasses.replace(place, item=0),
                item=place.item,
                category=_CATEGORIES.get(refusals[row].result_class, deadletters.Category.SINK_REJECTED),
                stage="write",
                code=refusals[row].code,
                message=refusals[row].message,
            )
            for row, place in zip(sorted(refusals), places, strict=True)
        ]
        await self._letters.write(part.range.partition, failed)
        refused = np.zeros(part.rows.num_rows, dtype=bool)
        refused[list(refusals)] = True
        self._refused(part.where(refused))
