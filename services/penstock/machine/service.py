"""One process of a pipeline: the doors, the lanes and the sinks that its cast names, over the pipeline's log.

`penstock run` has all of them; the servicers are the ones that run alone elsewhere, each sink behind a socket of its own, so
only the cast differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import AsyncIterator, Callable, Mapping

import pyarrow as pa

from penstock.api.model import pipeline as api_pipeline
from penstock.core import breaker, delivery, failpoints
from penstock.core.batching import model
from penstock.ingest import secret as ingest_secret
from penstock.log import port
from penstock.machine import (
    accepting,
    control,
    control_server,
    directory,
    expiring,
    finished,
    growing,
    letter_counts,
    memory,
    opening,
    renames,
    replays,
    retired,
    secrets,
    troubles,
    waiting,
)
from penstock.machine.parts import doors, lane_set, outlook, settled, stores, upkeep
from penstock.machine.peers import gate
from penstock.sinks import port as sinks_port
from penstock.telemetry import exposition, runtime, stages
from penstock.v1 import control_pb2

_ANSWER_SECONDS = 1.0
"""What one part of a status may take while the log does not answer."""

_AWAY = (port.LogUnavailableError,)
_MENDABLE = (
    *_AWAY,
    accepting.EditRefusedError,
    ingest_secret.SecretError,
    renames.RenameWaitsError,
    sinks_port.SinkError,
)
"""What a pod waits for; a person at a terminal is told of all but the brokers at once, by the end of the command."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where this process listens; port 0 takes a free one. `control` None: on the data directory's socket alone."""

    grpc: str = "127.0.0.1:9090"
    http: str = "127.0.0.1:8080"
    metrics: str = "127.0.0.1:9464"
    control: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """What of the pipeline runs in this process. `served`: sinks with the address each is served at; `lanes`: sinks with the
    address at which their lane finds them."""

    doors: bool = False
    lanes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    served: Mapping[str, str] = dataclasses.field(default_factory=dict)


def everything(pipeline: api_pipeline.BatchPipeline, data: directory.DataDirectory) -> Cast:
    """All of the pipeline, its sinks behind sockets in the data directory."""
    sockets = {sink.name: f"unix:{data.socket(f'sink-{sink.name}')}" for sink in pipeline.spec.sinks}
    return Cast(doors=pipeline.spec.source.type == "Ingest", lanes=sockets, served=sockets)


class Machine:
    """A running process. `start`, then `drain` or `release` or neither, then `close`."""

    def __init__(
        self,
        pipeline: api_pipeline.BatchPipeline,
        cast: Cast,
        addresses: Addresses,
        secret_store: secrets.SecretStore,
        data: directory.DataDirectory | None = None,
        failpoint: failpoints.Failpoint = failpoints.nothing,
        peers: gate.Peers | None = None,
        waits: Callable[[str], None] = waiting.nobody,
    ) -> None:
        """`data`: where an embedded log lies and what was accepted is pinned; None for one of several processes. `waits` hears
        what the start waits for."""
        self._failpoint, self._cast, self._peers = failpoint, cast, peers or gate.Peers()
        self._pipeline, self._data, self._addresses, self._secrets = pipeline, data, addresses, secret_store
        self._stack = contextlib.AsyncExitStack()
        self._stores = stores.Stores(secret_store, failpoint, self._peers)
        self._event_log: port.EventLog | None = None
        self._doors: doors.Doors | None = None
        self._lanes: lane_set.LaneSet | None = None
        self._retired: retired.Retired | None = None
        self._letters: letter_counts.LetterCounts | None = None
        self._expiring: expiring.Expiring | None = None
        self._watch: outlook.LogWatch | None = None
        self._waiting = waiting.Waiting(waits)
        self._outlook = outlook.Outlook(self._waiting)
        self._began = time.monotonic()

    async def start(self) -> None:
        """Open everything, the stores first and the doors last. Waits for brokers that are away; a process without `data`
        waits for everything that can be mended while it does.

        Raises LogError, SinkError, WriteFailedError, SecretError, OpenDoorError, OSError.
        """
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self) -> None:
        if self._data:
            self._data.create()
        else:
            # From the beginning: a process that waits for another one is alive, not ready, and says so.
            await self._start_telemetry()
            await self._start_control()
        self._stack.push_async_callback(self._stores.close)
        for sink in self._pipeline.spec.sinks:
            if sink.name in self._cast.served:
                await self._stores.open(sink, self._cast.served[sink.name])
        if self._cast.doors or self._cast.lanes:
            await self._start_on_log()
        self._outlook.started = True
        if self._data:
            # At the end: until the log is open, the socket may belong to another process in the same directory.
            await self._start_telemetry()
            await self._start_control()
            self._data.pin(self._pipeline, pathlib.Path.cwd())

    async def _start_on_log(self) -> None:
        mendable = _AWAY if self._data else _MENDABLE
        patiently = functools.partial(self._waiting.until_done, mendable=mendable, text=_text)
        self._event_log = log = await patiently(self._open_log)
        self._stack.push_async_callback(log.close)
        self._lanes = running = lane_set.LaneSet(self._pipeline, log, self._failpoint, self._peers)
        self._desk = replays.ReplayDesk(log, self._pipeline, self._secrets, self._failpoint)
        kept = await patiently(functools.partial(self._join, log))
        self._letters, self._expiring = kept.letters, expiring.Expiring(log, running)
        self._stack.push_async_callback(running.close)
        for sink in self._pipeline.spec.sinks:
            if (address := self._cast.lanes.get(sink.name)) is not None:
                await running.open(sink, address, patient=sink.name not in self._cast.served)
        if self._cast.doors:
            self._doors = await patiently(functools.partial(self._open_doors, log))
            self._stack.push_async_callback(self._doors.close)
        self._watch_over(log)
        for seconds, chore in (
            (upkeep.REPORT_SECONDS, kept.report),
            (upkeep.TRIM_SECONDS, kept.trim),
            (letter_counts.COUNT_SECONDS, kept.letters.count),
            (letter_counts.SAVE_SECONDS, kept.letters.save),
            (expiring.LOOK_SECONDS, self._expiring.look),
            (growing.LOOK_SECONDS, growing.Growing(log, running).look),
        ):
            self._keep_running(asyncio.create_task(upkeep.regularly(seconds, chore)))

    def _watch_over(self, log: port.EventLog) -> None:
        accepted = accepting.Accepting(self._pipeline, log) if self._doors and self._is_shared else None
        self._watch = outlook.LogWatch(log, accepted, functools.partial(troubles.refusal, self._pipeline, self._secrets))
        if self._doors:
            self._outlook.doors_over(self._doors, self._watch)
        self._keep_running(asyncio.create_task(self._watch.run()))

    @property
    def _is_shared(self) -> bool:
        return opening.is_shared(self._pipeline)

    async def _open_log(self) -> port.EventLog:
        return await opening.open_log(self._pipeline, self._data, self._secrets, self._failpoint)

    async def _join(self, log: port.EventLog) -> upkeep.Upkeep:
        """Have the object accepted by those that share the log, and take over what it renames."""
        if self._is_shared:
            await accepting.Accepting(self._pipeline, log).admit()
        kept = memory.InLog(log) if self._is_shared or self._data is None else memory.InDirectory(self._data)
        self._retired = gone = retired.Retired(kept, self._pipeline, log, shared=self._is_shared)
        if not self._is_shared:
            await gone.note()
        if self._cast.lanes:
            await renames.carry_over(log, self._pipeline)
        return upkeep.Upkeep(self._pipeline, log, self._here, gone, await gone.groups())

    async def _open_doors(self, log: port.EventLog) -> doors.Doors:
        told = self._addresses
        opened = doors.Doors(self._pipeline, log, self._secrets, self._failpoint, grpc_address=told.grpc, http_address=told.http)
        try:
            await opened.start()
            if self._pipeline.spec.lifecycle == "Draining" and self._data is None:
                await opened.drain()
        except BaseException:
            await opened.close()
            raise
        return opened

    def _keep_running(self, task: asyncio.Task[None]) -> None:
        self._stack.callback(task.cancel)

    async def _start_telemetry(self) -> None:
        self._keep_running(asyncio.create_task(runtime.watch()))
        self._keep_running(asyncio.create_task(self._outlook.live()))
        self._keep_running(asyncio.create_task(upkeep.regularly(gate.RELOAD_SECONDS, self._peers.reload)))
        exposed = exposition.MetricsServer(self._addresses.metrics, alive=self._outlook.why_dead, ready=self.why_not_ready)
        await exposed.start()
        self._stack.push_async_callback(exposed.close)
        self.metrics_address = exposed.address

    def why_not_ready(self) -> str:
        """Why events, or partitions, should not be sent here; empty when they should. Called by any thread."""
        return self._outlook.why_not_ready(self._lanes)

    async def _start_control(self) -> None:
        socket = self._data.socket("control") if self._data else None
        serving = control_server.ControlServer(control.ControlServicer(self), self.why_not_ready, self._peers)
        self._stack.push_async_callback(serving.close)
        await serving.start(socket, self._addresses.control)
        self.control_address = serving.address

    @property
    def grpc_address(self) -> str:
        return self._doors.grpc_address if self._doors else ""

    @property
    def http_address(self) -> str:
        return self._doors.http_address if self._doors else ""

    @property
    def sink_addresses(self) -> Mapping[str, str]:
        """Where the sinks of the cast are served."""
        return self._stores.addresses

    @property
    def broken(self) -> str:
        """Why this process should end so that another one takes over: its log has fallen silent for it alone."""
        failures = self._lanes.failures if self._lanes else []
        return next((failure.message for failure in failures if failure.code == port.LogError.__name__), "")

    async def drain(self, timeout_seconds: float) -> bool:
        """Refuse new events, land what is in the log, commit; whether all of it could be done within the bound."""
        await self.refuse()
        done = await self._lanes.drain(timeout_seconds) if self._lanes else True
        self._outlook.drained = done
        return done

    async def release(self, timeout_seconds: float) -> bool:
        """Refuse new events, land what has been read, commit, and leave the rest to other processes."""
        self._stores.grace_seconds = timeout_seconds
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.refuse()
                return await self._lanes.release(timeout_seconds) if self._lanes else True
        except TimeoutError:
            return False

    async def refuse(self) -> None:
        """Take no more events."""
        self._outlook.ending = True
        if self._doors:
            await self._doors.drain()

    async def close(self) -> None:
        """End everything, the doors first. What is unfinished is read again at the next start, or elsewhere."""
        await self._stack.aclose()

    # -- what the control socket asks

    async def status(self) -> control_pb2.StatusResponse:
        log = self._event_log
        return control_pb2.StatusResponse(
            namespace=self._pipeline.metadata.namespace,
            pipeline=self._pipeline.metadata.name,
            lifecycle=self._outlook.lifecycle(self._pipeline.spec.lifecycle if self._data is None else "Running", self._lanes),
            log_id=log.log_id if log else "",
            log_bytes=await self._log_bytes(),
            ingest=self._doors.status() if self._doors else None,
            lanes=await self._lane_statuses(self._lanes) if self._lanes else [],
            retired=await self._retired_lanes(),
            uptime_seconds=time.monotonic() - self._began,
            cpu_seconds=time.process_time(),
            stage_seconds=stages.seconds(),
            message=self.why_not_ready(),
            trouble=troubles.of(self._waiting.error, self._watch),
        )

    async def _retired_lanes(self) -> list[control_pb2.RetiredLane]:
        """None while the log does not answer."""
        with contextlib.suppress(port.LogError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._retired.report() if self._retired else []
        return []

    async def _lane_statuses(self, running: lane_set.LaneSet) -> list[control_pb2.LaneStatus]:
        found = await running.reports()
        if self._expiring:
            self._expiring.add_to(found)
        if self._letters:
            with contextlib.suppress(port.LogError, TimeoutError):
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._letters.add_to(found)
        return found

    async def _log_bytes(self) -> int:
        """0 while the log does not answer: what is known of the lanes is told all the same."""
        with contextlib.suppress(port.LogError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._event_log.size_bytes() if self._event_log else 0
        return 0

    @property
    def _here(self) -> lane_set.LaneSet:
        if self._lanes is None:
            raise control.NotHereError("no lanes run in this process; ask a batcher")
        return self._lanes

    def apply(self, sink: str, write_model: model.WriteModel | None, circuit: breaker.Mode | None) -> None:
        self._here.apply(sink, write_model, circuit)

    def follow(self, sink: str, told: settled.Told) -> None:
        self._here.follow(sink, told)

    def open_circuit(self, sink: str, why: str) -> None:
        self._here.open_circuit(sink, why)

    async def set_lifecycle(self, sink: str, lifecycle: str) -> str:
        reached = self._here.set_lifecycle(sink, lifecycle)
        if self._doors and not sink:
            await self._doors.set_lifecycle(lifecycle)
        self._outlook.told = lifecycle if not sink else self._outlook.told
        return reached

    async def query(self, sink: str, sql: str) -> pa.Table:
        return await self._stores.query(sink, sql)

    def replay(self, request: control_pb2.ReplayRequest) -> AsyncIterator[control_pb2.ReplayProgress]:
        _ = self._here
        return self._desk.replay(request)

    async def skip(self, request: control_pb2.SkipRequest) -> control_pb2.SkipResponse:
        return await self._here.skip(request)

    async def drop_lane(self, request: control_pb2.DropLaneRequest) -> control_pb2.DropLaneResponse:
        if self._retired is None:
            raise retired.DropRefusedError("this process has no log open; ask a batcher")
        return await self._retired.drop(request.sink, confirmed=request.confirmed)

    async def discard(self, request: control_pb2.DiscardRequest) -> control_pb2.DiscardResponse:
        _ = self._here
        return await self._desk.discard(request)


def _text(error: Exception) -> str:
    if isinstance(error, sinks_port.SinkError | delivery.WriteFailedError):
        return "; ".join(filter(None, (error.failure.message, error.failure.remedy)))
    return str(error)


async def is_drained(
    pipeline: api_pipeline.BatchPipeline, data: directory.DataDirectory, secret_store: secrets.SecretStore
) -> bool:
    """Whether every lane of `pipeline` has finished what stands in its log. Raises LogError."""
    if not opening.is_shared(pipeline) and not data.log_path.exists():
        return True
    log = await opening.open_log(pipeline, data, secret_store, read_only=True)
    try:
        return await finished.is_drained(log, pipeline)
    finally:
        await log.close()
