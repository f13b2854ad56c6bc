"""One lane: read, deduplicate, transform, batch, write, commit.

Three loops over shared state on one event loop: the reader fills the open batch, the dispatcher takes batches from it when
the close line says so, and the committer makes progress durable. The log is the only memory: what a lane must know after a
crash is committed with the offset.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent import futures

import structlog

from penstock.batcher import accounts, beginning, halting, patience
from penstock.batcher import lag as lags
from penstock.batcher import settings as lane_settings
from penstock.batcher.deadletters import letters
from penstock.batcher.reading import prepare, reader
from penstock.batcher.replaying import replays
from penstock.batcher.writing import dispatch, landing, planning, sink_client
from penstock.core import breaker, deadletters, delivery, flood, ledger, results
from penstock.log import port

_log = structlog.get_logger()

_DRAIN_LOOK_SECONDS = 0.02
_LAG_SECONDS = 2.0
_STORE_LOOK_SECONDS = 2.0


Last = Callable[[port.Subscription], Awaitable[None]]


class State(enum.Enum):
    """STARTING does not know its partitions and its ledger yet. HALTED waits for a person; the others go on by themselves."""

    STARTING = "Starting"
    RUNNING = "Running"
    PAUSED = "Paused"
    HALTED = "Halted"
    DRAINING = "Draining"
    DRAINED = "Drained"


class Lane:
    """A running lane. `start` once, then any of the others; what it has not finished at `stop` is read again."""

    def __init__(self, settings: lane_settings.LaneSettings, log: port.EventLog, client: sink_client.SinkClient) -> None:
        self.settings = settings
        self._event_log, self.sink = log, client
        self._worker = futures.ThreadPoolExecutor(1, thread_name_prefix=f"lane-{settings.sink}")
        self.accounts = accounts.LaneAccounts(log.log_id)
        self._patient = patience.PatientLog(log)
        self._letters = letters.LetterWriter(settings, self._patient, self._dead_lettered)
        self._flood = flood.Watch(settings.flood) if settings.flood else None
        self.circuit = breaker.Breaker(settings.circuit, random=random.random, mode=settings.circuit_mode)
        self._lander = landing.Lander(settings, client, self._letters, self.circuit, self.accounts)
        self.dispatcher = dispatch.Dispatcher(settings, self._lander, self.circuit)
        self._tasks: list[asyncio.Task[None]] = []
        self._state = State.RUNNING
        self._stopped_by: results.Failure | None = None
        self._lag = (0, 0.0)
        self._committed: dict[int, port.Commit] = {}
        self._committing = asyncio.Lock()
        self._subscription: port.Subscription | None = None
        self.away = ""
        """Why a lane that has started waits for its store; empty once it has been there."""
        self.delivery: delivery.Description | None = None
        self._replaying: replays.Replays | None = None

    @property
    def state(self) -> State:
        if self.failure:
            return State.HALTED
        starting = self._state is State.RUNNING and not self._reader.assigned
        return State.STARTING if starting else self._state

    @property
    def assigned(self) -> bool:
        """Whether the group has said which partitions are this lane's, be it none."""
        return self._reader.assigned

    @property
    def failure(self) -> results.Failure | None:
        """Why the lane is halted."""
        replaying = self._replaying.failure if self._replaying else None
        return self._stopped_by or self._lander.failure or replaying

    @property
    def trouble(self) -> results.Failure | None:
        """Why the last write failed, as long as something waits for the next: what went to another process is none of it."""
        waits = self.away or self.dispatcher.slots_in_use or self.circuit.state is not breaker.State.CLOSED
        return self.failure or (self._lander.last_failure if waits else None)

    @property
    def partitions(self) -> Sequence[int]:
        """Those the group has given this lane, also where it could not begin with them."""
        return self._reader.partitions

    @property
    def preparer(self) -> prepare.Preparer:
        return self._preparer

    async def start(self) -> None:
        """Compile the transform, check the table, join the log. Raises WriteFailedError, LogError.

        A lane that has run before does not need its store at once: it waits, and what comes in is kept in the log.
        """
        loop = asyncio.get_running_loop()
        log_id = self._event_log.log_id
        self._preparer = await loop.run_in_executor(self._worker, prepare.Preparer, self.settings, log_id)
        self._reader = reader.Reader(
            self.settings,
            self._patient,
            self._preparer,
            self.accounts,
            self.dispatcher,
            self._letters,
            self._transformed,
            self._worker,
            self.commit,
        )
        self._replaying = replays.Replays(self.settings, self._patient, self._shared())
        try:
            await self._join()
        except delivery.WriteFailedError as error:
            away = error.failure.result_class is results.ResultClass.OUTAGE and self.settings.waits_for_store
            if not away or not await self._event_log.committed(port.EVENTS, self.settings.lane):
                raise
            self._tasks = [asyncio.create_task(self._guarded(self._join_later), name=f"lane-{self.settings.sink}")]

    async def _join(self) -> None:
        replaying = self.replay_log
        self.delivery = described = await self._describe()
        self.agree(described)
        if described.identity is delivery.Identity.TOKEN:
            self._plan(replaying)
        await beginning.begin(self.settings, self._event_log)
        self._subscription = await self._event_log.subscribe(port.EVENTS, self.settings.lane, self._reader)
        await replaying.join()
        loops = (self._read, self.dispatcher.run, replaying.run, replaying.dispatcher.run, self._commit_regularly)
        self._tasks += [asyncio.create_task(self._guarded(loop), name=f"lane-{self.settings.sink}") for loop in loops]

    async def _join_later(self) -> None:
        """Until the store is back. What else is the matter with it halts the lane, and is looked at again."""
        while self._subscription is None:
            try:
                await self._join()
            except port.LogUnavailableError as error:
                _log.warning("log_unavailable", sink=self.settings.sink, error=str(error))
                await self._leave()
                await asyncio.sleep(_STORE_LOOK_SECONDS)
            except delivery.WriteFailedError as error:
                if str(error) != self.away:
                    _log.warning("store_away", sink=self.settings.sink, code=error.failure.code, message=error.failure.message)
                self.away = str(error)
                away = error.failure.result_class is results.ResultClass.OUTAGE
                self._lander.failure, self._lander.last_failure = None if away else error.failure, error.failure
                await asyncio.sleep(_STORE_LOOK_SECONDS)
            else:
                self.away, self._lander.failure, self._lander.last_failure = "", None, None

    def agree(self, described: delivery.Description) -> None:
        # What a sink can bear, each of its endpoints can.
        self.sink.follow_endpoints(lambda count: self.dispatcher.bound(described.max_concurrency * count))
        terms = sink_client.Terms(
            identity=described.identity,
            ordered=self.settings.ordered,
            hedging=self.settings.hedging,
            write_seconds=self.settings.limits.write_timeout_seconds,
            is_calm=lambda: self.circuit.state is breaker.State.CLOSED and not self.dispatcher.pressure_steps,
        )
        self.sink.agree(terms)

    async def _describe(self) -> delivery.Description:
        """What holds for every table of the lane: the weakest of what holds for each."""
        columns = self._preparer.output_schema
        found = [await self.sink.describe(self.settings.lane, table, columns) for table in self.settings.tables]
        return next((one for one in found if one.identity is delivery.Identity.NONE), found[0])

    def _plan(self, replaying: replays.Replays) -> None:
        """The store knows tokens: from now on what a batch is made of is durable before it leaves."""
        self.dispatcher.plan_with(planning.Planner(self.settings, self.accounts, self.commit, self._in_doubt))
        replaying.plan_with(self._in_doubt)

    def _in_doubt(self, what: str) -> None:
        """Something may stand in the store twice: whoever asks about the lane is told so until its next start."""
        assert self.delivery is not None  # noqa: S101 - nothing is planned before it is known
        reason = f"{self.delivery.identity_reason}; but {what}"
        self.delivery = dataclasses.replace(self.delivery, identity_reason=reason)

    def _shared(self) -> replays.Shared:
        return replays.Shared(
            client=self.sink,
            circuit=self.circuit,
            letter_writer=self._letters,
            lander=self._lander,
            preparer=self._preparer,
            worker=self._worker,
        )

    @property
    def replay_log(self) -> replays.Replays:
        """The lane's way in for replayed letters; there once the lane has started."""
        assert self._replaying is not None  # noqa: S101 - a lane that was started has one
        return self._replaying

    async def _read(self) -> None:
        while True:
            await self._read_as_given()

    async def _read_as_given(self) -> None:
        """A lane that can't read on stays a member of its group, and begins anew when it is given other partitions: what stands
        in the way may be somebody else's then."""
        assert self._subscription is not None  # noqa: S101 - read only after it has joined
        try:
            await self._reader.run(self._subscription)
        except Exception as error:
            stopped = self._halt(error)
        await self._reader.given_others(self._subscription, lambda: self._stopped_by is stopped)
        self._stopped_by = None
        if self._state is not State.PAUSED:
            self.resume()

    async def _guarded(self, loop: Callable[[], Awaitable[None]]) -> None:
        """A loop that fails halts the lane with the reason, and leaves the other lanes and the doors alone."""
        try:
            await loop()
        except Exception as error:
            self._halt(error)

    def _halt(self, error: Exception) -> results.Failure:
        _log.error("lane_halted", sink=self.settings.sink, exc_info=error)
        self._stopped_by = stopped = halting.as_failure(error)
        self._hold()
        return stopped

    def _transformed(self, rows: int) -> None:
        if self._flood:
            self._flood.saw(time.monotonic(), rows)

    def _dead_lettered(self, written: Sequence[deadletters.DeadLetter]) -> None:
        """A few bad rows are the rows' fault; a flood of them is not, and pauses the lane until a person has looked."""
        if self._flood is None:
            return
        now = time.monotonic()
        self._flood.refused(now, (flood.Refusal(fingerprint=one.fingerprint, message=one.message) for one in written))
        if (verdict := self._flood.verdict(now)) and not self._stopped_by:
            _log.error("reject_flood", sink=self.settings.sink, refused=verdict.refused, units=verdict.units)
            self.pause()
            self._stopped_by = halting.flooded(str(verdict))

    async def drain(self, timeout_seconds: float, *, look_seconds: float = _DRAIN_LOOK_SECONDS) -> bool:
        """Read to the end of the log, land everything and commit; whether that was possible within the bound.

        A paused lane stays as it is: for it the answer is known at once.
        """
        paused = self._state is State.PAUSED
        if self._state is not State.DRAINED:
            self._state = State.DRAINING
        self.dispatcher.drain()
        self.replay_log.dispatcher.drain()
        deadline = time.monotonic() + timeout_seconds
        while not await self._is_drained():
            if paused or time.monotonic() > deadline or self._stopped_by:
                return False
            self._state = State.DRAINING
            await asyncio.sleep(look_seconds)
        await self.commit()
        self._state = State.DRAINED
        return True

    async def release(self, timeout_seconds: float) -> bool:
        """Read no more, and land what has been read; whether that was possible within the bound. `stop` commits it."""
        self._state = State.DRAINING
        self.replay_log.pause_reading()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._reader.rest()
                settled = [one.settle(timeout_seconds) for one in (self.dispatcher, self.replay_log.dispatcher)]
                return all(await asyncio.gather(*settled))
        except TimeoutError:
            return False

    async def _is_drained(self) -> bool:
        if not self._reader.assigned or self.accounts.open_blocks or await self.unread_blocks():
            return False
        return await self.replay_log.is_drained()

    async def stop(self, last: Last | None = None) -> None:
        """End now; unfinished blocks are read again. `last` is done between the last commit and leaving the group."""
        try:
            await self._end_loops(last)
        finally:
            await self._leave()
            await self.sink.close()
            self._worker.shutdown()

    async def _end_loops(self, last: Last | None) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.dispatcher.close()
        if self._subscription is not None:
            self.accounts.stopping()
            try:
                await self.commit()
            except (port.PartitionLostError, port.LogUnavailableError) as error:
                _log.warning("stopped_uncommitted", sink=self.settings.sink, error=str(error))
            if last is not None:
                await last(self._subscription)

    async def _leave(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.close()
            await self.replay_log.close()

    def pause(self) -> None:
        """Hold: nothing new is read or dispatched, what is on its way to the store finishes."""
        self._hold()
        self._state = State.PAUSED

    def _hold(self) -> None:
        self._reader.pause()
        self.dispatcher.pause()
        self.replay_log.pause()

    def resume(self) -> None:
        """Go on; after a flood of refusals, from here on anew. A lane that a fault has stopped stays so until it is restarted."""
        if self._flood and self._stopped_by and self._stopped_by.code == "RejectFlood":
            self._flood.reset()
            self._stopped_by = None
        self._state = State.RUNNING
        if self._stopped_by is None:
            self._reader.resume()
            self.dispatcher.resume()
            self.replay_log.resume()

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self.settings.commit_seconds)
            try:
                await self.commit()
            except (port.LogFullError, port.LogUnavailableError) as error:
                # Brokers are away, or somebody has taken even the log's reserve. What is finished stays finished.
                _log.warning("commit_waits", sink=self.settings.sink, error=str(error))
            except port.PartitionLostError as error:
                # The reader hears of it at its next poll, and drops what is another process's now.
                _log.info("commit_lost", sink=self.settings.sink, error=str(error))

    async def commit(self) -> None:
        """Make what is finished, and what is planned, durable: offset, ledger and plans in one step."""
        # One at a time: an older state must not follow a newer one that a write has already left on.
        async with self._committing:
            await self._commit()

    async def _commit(self) -> None:
        wanted = {
            partition: port.Commit(offset=offset, metadata=ledger.to_metadata(metadata))
            for partition, (offset, metadata) in self.accounts.commits().items()
        }
        # What another process has committed meanwhile, to a partition that is back, is not known here.
        self._committed = {partition: commit for partition, commit in self._committed.items() if partition in wanted}
        changed = {partition: commit for partition, commit in wanted.items() if self._committed.get(partition) != commit}
        if changed and self._subscription is not None:
            before = {partition: commit.offset for partition, commit in self._committed.items()}
            await self._reader.keeper.save({partition: commit.offset for partition, commit in wanted.items()}, before)
            self.settings.failpoint("lane.committing")
            await self._subscription.commit(changed)
            self.settings.failpoint("lane.committed")
            self._committed |= changed
        await self.replay_log.commit()

    async def unread_blocks(self) -> int:
        """Blocks in the log that are not finished."""
        return await lags.unread_blocks(self._event_log, await self._finished_below())

    async def _finished_below(self) -> dict[int, int]:
        """The lowest unfinished offset by partition, also of a lane that is held before its first poll."""
        if self._reader.assigned:
            return {partition: offset for partition, (offset, _) in self.accounts.commits().items()}
        return await lags.finished_below(self._event_log, await self._event_log.committed(port.EVENTS, self.settings.lane))

    async def lag(self) -> tuple[int, float]:
        """See `lag.measured`; what was last known where the log can't tell: a status is never owed to a log that is well."""
        with contextlib.suppress(port.LogError, TimeoutError):
            async with asyncio.timeout(_LAG_SECONDS):
                finished, of_blocks = await self._finished_below(), self.settings.values is None
                self._lag = await lags.measured(self._event_log, finished, of_blocks=of_blocks)
        return self._lag
