"""When batches go: the open batch, the write slots, and the one timer between them.

Rows wait in the open batch; a batch is frozen only when a slot takes it. What the writes teach (level, sums, ratios) is
kept and exported here, because the outer loop that fits the model reads it from the metrics.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence

import structlog

from penstock.batcher import settings as lane_settings
from penstock.batcher.writing import landing, planning
from penstock.core import addresses, breaker
from penstock.core.batching import builder, chunks, model, partitioned, pressure
from penstock.telemetry import metrics

_WAITED_SECONDS = 0.002
_SETTLE_LOOK_SECONDS = 0.01
_MOST_GIVING_WAY = 4
_LATENCIES_KEPT = 512
_LAST_WRITES_SECONDS = 2.0
_SLOW_EVERY_SECONDS = 10.0

_log = structlog.get_logger()


class Dispatcher:
    """Used from the lane's event loop only."""

    def __init__(
        self,
        settings: lane_settings.LaneSettings,
        lander: landing.Lander,
        circuit: breaker.Breaker,
        clock: Callable[[], float] = time.monotonic,
        *,
        counts_latency: bool = True,
    ) -> None:
        self._settings, self._lander, self._circuit, self._clock = settings, lander, circuit, clock
        self._counts_latency = counts_latency
        self._builder: builder.Builder | partitioned.Builders = self._opened()
        self._planner: planning.Planner | None = None
        self._level, self._sums = model.StoreLevel(), model.WriteSums()
        self._told, self._steps, self._most_slots = settings.write_model, 0, 0
        self._slots = self._wanted_slots()
        self._writing: dict[asyncio.Task[None], builder.Batch] = {}
        self._changed = asyncio.Event()
        lander.when_troubled = self.wake
        self._room = asyncio.Event()
        self._room.set()
        self._draining = self._paused = False
        self._due_since: float | None = None
        self._awaiting_letters = 0
        self._error: BaseException | None = None
        self._slow, self._slow_told = 0, -math.inf
        self.nothing_unread = False
        self.flushes = dict.fromkeys(builder.Reason, 0)
        self.rows_dispatched = 0
        self.latencies: list[float] = []

    def _opened(self) -> builder.Builder:
        told = self._settings
        return builder.Builder(told.write_model, told.limits, send_when_idle=told.send_when_idle)

    def plan_with(self, planner: planning.Planner) -> None:
        """Before any rows come: batches are of one partition each, and planned before they leave."""
        self._planner = planner
        self._builder = partitioned.Builders(self._opened, planner.has_room)

    def _wanted_slots(self) -> int:
        told, most = self._builder.write_model, self._most_slots
        wanted = 1 if self._settings.ordered else min(told.wanted_concurrency, self._settings.limits.concurrency)
        return max(1, min(wanted, most) if most else wanted)

    def bound(self, max_concurrency: int) -> None:
        """The sink's own bound on concurrent writes; 0 means none. It may change while there are some."""
        self._most_slots = max_concurrency
        self._bind()
        self.wake()

    def _bind(self) -> None:
        self._slots = self._wanted_slots()
        self._lander.bound(self._slots)

    # -- what comes in

    def add(self, chunk: chunks.Chunk) -> None:
        """Rows for the open batch."""
        rest = self._planner.route(chunk) if self._planner else chunk
        if rest is not None:
            self._builder.add(rest)
        self._look()

    def passed(self, stretch: addresses.Range) -> None:
        """A stretch of the log was read that makes no rows."""
        if self._planner:
            self._planner.passed(stretch)
            self._look()

    async def room(self) -> None:
        """Wait until what is held is within the memory bound."""
        await self._room.wait()

    @property
    def has_room(self) -> bool:
        """Whether what is held is within the memory bound."""
        return self._room.is_set()

    async def settle(self, seconds: float, *, open_too: bool = True) -> bool:
        """Send what is open, and wait at most so long until every row has its outcome; whether they all have.

        Not while nothing can land, nor for what a person holds back. Not `open_too`: only what is on its way.
        """
        deadline, before = self._clock() + seconds, (self._draining, self.nothing_unread)
        if open_too:
            self._draining = self.nothing_unread = True
        try:
            while self.rows_in_flight if open_too else self._writing:
                self._look()
                stuck = self._error or (self._circuit.state is not breaker.State.CLOSED) or (self._paused and not self._writing)
                if stuck or self._clock() >= deadline:
                    return False
                await asyncio.sleep(_SETTLE_LOOK_SECONDS)
            return True
        finally:
            self._draining, self.nothing_unread = before

    async def drop(self, partitions: Sequence[int]) -> None:
        """All partitions were revoked: forget their rows, and end what is on its way; returns when nothing is.

        What has left may land all the same: the store tells whoever sends those ranges next.
        """
        for partition in partitions:
            self._builder.drop(partition)
            if self._planner:
                self._planner.drop(partition)
        writing = list(self._writing)
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        self._look()

    def _look(self) -> None:
        held = self._builder.bytes + sum(batch.bytes for batch in self._writing.values())
        held += self._planner.bytes if self._planner else 0
        if held < self._settings.memory_bytes:
            self._room.set()
        else:
            self._room.clear()
        self._changed.set()

    # -- what a person or the tuner says

    def apply(self, write_model: model.WriteModel) -> None:
        self._told = write_model
        self._follow()
        self._look()

    def follow(self, wanted: lane_settings.LaneSettings) -> None:
        """What of these settings needs no restart. Replays go when they are idle, whatever the lane does."""
        idle = wanted.send_when_idle if self._counts_latency else self._settings.send_when_idle
        self._settings = told = dataclasses.replace(lane_settings.followed(self._settings, wanted), send_when_idle=idle)
        self._builder.follow(told.limits, send_when_idle=idle)
        self._lander.follow(told)
        self.apply(told.write_model)

    def _follow(self) -> None:
        """What was told, as far as the store's pressure lets."""
        self._builder.apply(pressure.eased(self._told, self._settings.limits, self._steps))
        if self._wanted_slots() != self._slots:
            self._bind()

    def drain(self) -> None:
        """From now on what is open goes as soon as nothing is left to read."""
        self._draining = True
        self._look()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = self._draining = False
        self._look()

    def wake(self) -> None:
        """Something the close line depends on has changed."""
        self._changed.set()

    # -- figures

    @property
    def rows_in_flight(self) -> int:
        """Rows in the open batch, on their way to the store, or waiting for their dead letters."""
        on_their_way = sum(batch.rows for batch in self._writing.values()) - self._lander.settled_rows
        planned = self._planner.rows if self._planner else 0
        return self._builder.rows + planned + on_their_way + self._awaiting_letters

    @contextlib.contextmanager
    def awaiting_letters(self, rows: int) -> Iterator[None]:
        """Rows that never came here, because the transform failed on them, are in flight until their letters are durable."""
        self._awaiting_letters += rows
        try:
            yield
        finally:
            self._awaiting_letters -= rows

    @property
    def open_rows(self) -> int:
        return self._builder.rows

    @property
    def write_model(self) -> model.WriteModel:
        return self._builder.write_model

    @property
    def level(self) -> float:
        return self._level.value

    @property
    def slots(self) -> int:
        return self._slots

    @property
    def pressure_steps(self) -> int:
        """How far the store's pressure has moved batches from what was told; 0: not at all."""
        return self._steps

    @property
    def slots_in_use(self) -> int:
        return len(self._writing)

    # -- the loop

    async def run(self) -> None:
        """Dispatch until cancelled. Raises what a batch could not be settled for: its rows must be read again."""
        while True:
            if self._error:
                raise self._error
            wait = self._dispatch_due()
            self._changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _dispatch_due(self) -> float | None:
        """Send what is due; seconds until it must be asked again, None for only when something changes."""
        while True:
            now = self._clock()
            if (steps := self._lander.pressure.steps(now)) != self._steps:
                self._steps = steps
                self._follow()
            due, eases = self._due(now), self._lander.pressure.changes_at(now)
            if not isinstance(due, builder.Reason):
                return _until(min(due, eases), now)
            self._due_since = now if self._due_since is None else self._due_since
            if self._paused or len(self._writing) - self._giving_way() >= self._slots or self._is_probing():
                return _until(eases, now)
            self._dispatch(due, now)

    def _giving_way(self) -> int:
        """Batches that wait with a failure no rule knows: some others may pass them, unless order is to be kept."""
        return 0 if self._settings.ordered else min(self._lander.troubled, _MOST_GIVING_WAY)

    def _is_probing(self) -> bool:
        """While the circuit is not closed one batch finds out whether the store is back, and the open one goes on growing."""
        return self._circuit.state is not breaker.State.CLOSED and bool(self._writing)

    def _due(self, now: float) -> builder.Reason | float:
        if self._planner and self.nothing_unread:
            self._planner.finish()
        if self._planner and self._planner.waiting:
            return builder.Reason.RESUMED
        if self._draining and self.nothing_unread and self._builder.rows:
            return self._builder.drains()
        return self._builder.due(now, level=self._level.value, nothing_unread=self.nothing_unread)

    def _dispatch(self, reason: builder.Reason, now: float) -> None:
        resumed = self._planner.next() if self._planner and reason is builder.Reason.RESUMED else None
        batch = resumed.batch if resumed else self._builder.take(reason, level=self._level.value)
        ticket = self._planner.begin(batch, resumed.plan if resumed else None) if self._planner else None
        waited = now - (self._due_since if self._due_since is not None else now) > _WAITED_SECONDS
        self._due_since = None
        self._note_dispatch(batch, now, waited=waited)
        task = asyncio.create_task(self._write(batch, now, ticket))
        self._writing[task] = batch
        task.add_done_callback(self._written)

    def _note_dispatch(self, batch: builder.Batch, now: float, *, waited: bool) -> None:
        labels = self._settings.labels
        self.flushes[batch.reason] += 1
        self.rows_dispatched += batch.rows
        metrics.BATCH_FLUSHES.labels(**labels, reason=batch.reason.value).inc()
        metrics.BATCH_ROWS.labels(**labels).observe(batch.rows)
        metrics.BATCH_BYTES.labels(**labels).observe(batch.bytes)
        if self._counts_latency:
            metrics.BATCH_QUEUE_SECONDS.labels(**labels).observe(max(0.0, now - batch.born))
        metrics.DISPATCHES.labels(**labels, waited=str(waited).lower()).inc()

    async def _write(self, batch: builder.Batch, dispatched: float, ticket: planning.Ticket | None) -> None:
        self._settings.failpoint("lane.dispatched")
        if ticket is None:
            seconds = await self._lander.land(batch)
        else:
            seconds = await self._write_planned(batch, ticket)
        self._note_landed(batch, dispatched, seconds)

    async def _write_planned(self, batch: builder.Batch, ticket: planning.Ticket) -> float:
        try:
            await ticket.ready()
            self._settings.failpoint("lane.planned")
            seconds = await self._lander.land(batch, ticket)
            ticket.settled()
        except planning.LostPartitionError as error:
            # Whoever has the partition now has its plans: here this batch never was.
            raise asyncio.CancelledError(str(error)) from None
        finally:
            ticket.close()
        return seconds

    def _note_landed(self, batch: builder.Batch, dispatched: float, seconds: float) -> None:
        labels, told, landed = self._settings.labels, self.write_model, self._clock()
        expected = self._level.value * told.write_seconds(batch.rows)
        if seconds > 0.0:
            metrics.WRITE_SECONDS.labels(**labels, outcome="landed").observe(seconds)
            for name, value in self._sums.add(batch.rows, seconds, expected).items():
                metrics.WRITE_SUMS.labels(**labels, sum=name).inc(value)
            self._level.observe(told, batch.rows, seconds)
        if expected > 0.0:
            metrics.LANDING_RATIO.labels(**labels).observe((landed - dispatched) / expected)
        if self._counts_latency:
            self._note_latency(batch, landed)
            self._tell_if_slow(batch, dispatched, landed, seconds)

    def _tell_if_slow(self, batch: builder.Batch, dispatched: float, landed: float, seconds: float) -> None:
        """A log line for a batch that missed the objective, with where its time went; one in ten seconds, with a count."""
        if landed - batch.born <= self._settings.latency_objective_seconds:
            return
        self._slow += 1
        if landed - self._slow_told < _SLOW_EVERY_SECONDS:
            return
        _log.warning(
            "slow_batch",
            sink=self._settings.sink,
            rows=batch.rows,
            bytes=batch.bytes,
            reason=batch.reason.value,
            total_seconds=round(landed - batch.born, 3),
            waited_seconds=round(max(0.0, dispatched - batch.born), 3),
            retried_seconds=round(max(0.0, landed - dispatched - seconds), 3),
            write_seconds=round(seconds, 3),
            slow_batches=self._slow,
        )
        self._slow, self._slow_told = 0, landed

    def _note_latency(self, batch: builder.Batch, landed: float) -> None:
        labels, latency = self._settings.labels, max(0.0, landed - batch.born)
        metrics.LATENCY_SECONDS.labels(**labels).observe(latency)
        late = sum(
            chunk.rows.num_rows for chunk in batch.chunks if landed - chunk.born > self._settings.latency_objective_seconds
        )
        metrics.ROWS_LATE.labels(**labels).inc(late)
        self.latencies = [*self.latencies[-_LATENCIES_KEPT:], latency]

    def _written(self, task: asyncio.Task[None]) -> None:
        batch = self._writing.pop(task)
        if not task.cancelled() and (error := task.exception()):
            self._error = error
        elif not task.cancelled():
            self._lander.settled_rows -= batch.rows
        if not self._writing:
            # One that was cancelled may have had some of its outcomes.
            self._lander.settled_rows = 0
        self._look()

    async def close(self) -> None:
        """Cancel what is on its way; the same ranges are sent again by whoever comes next.

        Planned batches first get a moment to land: only until the pipeline is edited can they be sent again as they were.
        """
        if self._planner and self._writing and self._circuit.state is breaker.State.CLOSED:
            await asyncio.wait(list(self._writing), timeout=_LAST_WRITES_SECONDS)
        for task in list(self._writing):
            task.cancel()
        await asyncio.gather(*self._writing, return_exceptions=True)


def _until(then: float, now: float) -> float | None:
    return None if math.isinf(then) else max(0.0, then - now)
