"""A DeadLetterReplay done to its end, as the pod of a Job does it: begun again as often as it must be, and never done twice.

Whatever goes wrong with the log is waited for. What was put back before this process is counted with what it puts back itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
import structlog

from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import replay as api_replay
from penstock.core import errors, failpoints, letter_condition, runs, selection
from penstock.ingest import secret as secret_port
from penstock.log import port
from penstock.machine import replays, secrets, strays
from penstock.replay import book, job, run, survey, watch
from penstock.sinks import port as sinks_port

_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0
_NO_END = float("inf")

_log = structlog.get_logger()

Opening = Callable[[], Awaitable[port.EventLog]]


class ReplayRun:
    """`go` once. `report` is what it can say of itself at any time; `pace` may be changed."""

    def __init__(
        self,
        told: api_replay.DeadLetterReplay,
        created: datetime.datetime,
        pipeline: api_pipeline.BatchPipeline,
        secret_store: secrets.SecretStore,
        opening: Opening,
        failpoint: failpoints.Failpoint = failpoints.nothing,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`created`: before which letters are meant where the object names no end. `opening` may raise LogError."""
        self._told, self._pipeline, self._secrets = told, pipeline, secret_store
        self._opening, self._failpoint, self._sleep = opening, failpoint, sleep
        self._filters = filters_of(told.spec.select, created)
        self.pace = job.Pace(events_per_second=told.spec.events_per_second)
        self.id = identity(told)
        self._report = runs.Report(phase=runs.Phase.WAITING, started_at=_now())
        self._damaged: Sequence[str] = ()

    @property
    def report(self) -> runs.Report:
        return msgspec.structs.replace(self._report, events_per_second=self.pace.events_per_second)

    async def go(self) -> runs.Report:
        """How it ended. What can't be done is REFUSED; what can't be done now is tried again."""
        wait = _FIRST_WAIT_SECONDS
        while True:
            before = self._report.replayed
            try:
                async with contextlib.aclosing(_Closing(await self._opening())) as opened:
                    await self._once(opened.log)
                if self._report.is_final:
                    return self.report
                # Each try reads the whole topic.
                wait = _FIRST_WAIT_SECONDS if self._report.replayed > before else wait
            except strays.StraysError as error:
                # A Secret that is missing may come; a topic of the pipeline's own stays one.
                if error.__cause__ is None:
                    self._say(phase=runs.Phase.REFUSED, message=str(error), finished_at=_now())
                    return self.report
                self._wait(error)
            except errors.InvalidPipelineError as error:
                self._say(phase=runs.Phase.REFUSED, message=str(error), finished_at=_now())
                return self.report
            except (port.LogError, secret_port.SecretError, OSError) as error:
                self._wait(error)
            except sinks_port.SinkError as error:
                self._wait(f"{error.failure.message}: {error.failure.remedy}")
            await self._sleep(wait)
            wait = min(_LONGEST_WAIT_SECONDS, wait * 2)

    def _wait(self, why: object) -> None:
        _log.warning("replay_waits", error=str(why))
        self._say(phase=runs.Phase.WAITING, message=f"waits: {why}")

    def _say(self, **more: object) -> None:
        self._report = msgspec.structs.replace(self._report, **more)

    async def _once(self, log: port.EventLog) -> None:
        """As far as it goes now; final, or letters wait for their lanes."""
        acts = self._told.spec.action in ("Replay", "Discard")
        if acts and (before := await run.done(log, self.id)):
            message = before.message or "done before"
            self._report = msgspec.structs.replace(before, phase=runs.Phase.COMPLETE, already_run=True, message=message)
            return
        async with self._order(log) as order:
            self._count(await run.account(log, order))
            if self._told.spec.action == "Replay":
                await self._replay(log, order)
            elif self._told.spec.action == "Discard":
                await job.Jobs(log, failpoint=self._failpoint).discard(order, reason=self._told.spec.reason or "")
            standing = await run.account(log, order)
        self._count(standing)
        if self._report.phase is runs.Phase.SUSPENDED:
            return
        if acts and self._told.spec.action == "Replay" and (standing.unsettled or standing.unfinished):
            waits = f"{standing.unsettled:,} letters wait until their lane has finished the block they came from"
            self._say(phase=runs.Phase.WAITING, message=waits)
            return
        self._say(phase=runs.Phase.COMPLETE, message=_said(self._told.spec.action, standing, self._damaged), finished_at=_now())
        if acts:
            await run.finish(log, self.id, self.report)

    @contextlib.asynccontextmanager
    async def _order(self, log: port.EventLog) -> AsyncIterator[survey.Order]:
        told, topic = self._told.spec, self._told.spec.source.kafka_topic
        most = told.max_replays_per_event
        async with contextlib.AsyncExitStack() as stack:
            others = None
            if topic:
                found = strays.opened(self._pipeline, log, topic, self._filters.sinks, self._secrets)
                others = await stack.enter_async_context(found)
            yield replays.order(self._pipeline, self._filters, most, others, run=self.id)

    async def _replay(self, log: port.EventLog, order: survey.Order) -> None:
        told, before = self._told.spec, self._report
        suspend = watch.SuspendOnFailure(percent=told.suspend_on_failure.percent, minimum=told.suspend_on_failure.minimum_events)
        going = job.Jobs(log, failpoint=self._failpoint).replay(
            order, pace=self.pace, reason=told.reason or "", wait_seconds=_NO_END, suspend=suspend
        )
        self._say(phase=runs.Phase.RUNNING, message="")
        async with contextlib.aclosing(going):
            async for one in going:
                self._say(
                    replayed=before.replayed + one.published,
                    landed=before.landed + one.landed,
                    failed=before.failed + one.failed_again,
                )
                self._damaged = one.damaged
                if one.suspended:
                    self._say(phase=runs.Phase.SUSPENDED, message=one.suspended, finished_at=_now())

    def _count(self, standing: run.Account) -> None:
        self._say(**standing.told(started_at=standing.began or self._report.started_at))


class _Closing:
    """A log under the name by which `aclosing` knows what is closed."""

    def __init__(self, log: port.EventLog) -> None:
        self.log = log

    async def aclose(self) -> None:
        await self.log.close()


def identity(told: api_replay.DeadLetterReplay) -> str:
    """The id of the run it asks for."""
    spec = told.spec.model_dump(by_alias=True, exclude_none=True, mode="json")
    return runs.identity(told.metadata.namespace, told.metadata.name, spec)


def filters_of(select: api_replay.Select, created: datetime.datetime) -> selection.Filters:
    """`created`: before which letters are meant where `select` names no end, so that a replay always has one."""
    since, until = select.failed_after_time, select.failed_before_time or created
    return selection.Filters(
        categories=frozenset(select.categories),
        sinks=frozenset(select.sinks),
        fingerprints=frozenset(select.fingerprints),
        since_microseconds=_microseconds(since) if since else 0,
        until_microseconds=_microseconds(until),
        where=letter_condition.Condition(select.where) if select.where else None,
    )


def _microseconds(time: datetime.datetime) -> int:
    return (time - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)


def _now() -> int:
    return time.time_ns() // 1000


def _said(action: str, standing: run.Account, damaged: Sequence[str]) -> str:
    """The outcome in a sentence; `damaged`: what was selected and stays where it is."""
    left = [f"{standing.quarantined:,} quarantined"] if standing.quarantined else []
    left += [f"{len(damaged):,} whose events are damaged ({_named(damaged, len(damaged))})"] if damaged else []
    if standing.unreadable:
        left += [f"{standing.unreadable:,} that are no letters ({_named(standing.such_as, standing.unreadable)})"]
    if action == "DryRun":
        parts = [f"{standing.selected:,} would be put back"]
    elif action == "Discard":
        parts = [f"{standing.discarded:,} discarded"]
    elif not standing.replayed:
        parts = ["nothing outstanding matches"]
    else:
        parts = [f"{standing.replayed:,} put back", f"{standing.landed:,} landed", f"{standing.failed:,} failed again"]
    return ", ".join([*parts, *left])


def _named(such_as: Sequence[str], count: int) -> str:
    """A few by their places and why; they hold what others wrote, which may be long."""
    shown = "; ".join(one[: runs.MOST_EXAMPLE_CHARACTERS] for one in such_as[: book.MOST_NAMED])
    return shown if count <= book.MOST_NAMED else f"such as {shown}"
