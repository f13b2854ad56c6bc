"""One process of a pipeline: the doors, the lanes and the sinks that its cast names, over the pipeline's log.

`penstock run` has all of them; the servicers are the ones that run alone elsewhere, each sink behind a socket of its own, so
only the cast differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pathlib
import time
from collections.abc import AsyncIterator, Mapping

import pyarrow as pa

from penstock.api.model import pipeline as api_pipeline
from penstock.core import failpoints
from penstock.core.batching import model
from penstock.log import port
from penstock.machine import control, control_server, directory, lanes, letter_counts, opening, renames, replays, retired, secrets
from penstock.machine.parts import doors, lane_set, stores, upkeep
from penstock.telemetry import exposition, runtime
from penstock.v1 import control_pb2

_SILENT_SECONDS = 30.0
_ANSWER_SECONDS = 1.0
"""What one part of a status may take while the log does not answer."""


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
    return Cast(doors=True, lanes=sockets, served=sockets)


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
    ) -> None:
        """`data`: where an embedded log lies and what was accepted is pinned; None for one of several processes."""
        self._failpoint, self._cast = failpoint, cast
        self._pipeline, self._data, self._addresses, self._secrets = pipeline, data, addresses, secret_store
        self._stack = contextlib.AsyncExitStack()
        self._stores = stores.Stores(secret_store, failpoint)
        self._event_log: port.EventLog | None = None
        self._doors: doors.Doors | None = None
        self._lanes: lane_set.LaneSet | None = None
        self._retired: retired.Retired | None = None
        self._letters: letter_counts.LetterCounts | None = None
        self._lifecycle = "Starting"
        self._began = self._alive_at = time.monotonic()

    async def start(self) -> None:
        """Open everything, the stores first and the doors last.

        Raises LogError, SinkError, WriteFailedError, SecretError, OSError.
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
        self._lifecycle = "Running"
        if self._data:
            # At the end: until the log is open, the socket may belong to another process in the same directory.
            await self._start_telemetry()
            await self._start_control()
            self._data.pin(self._pipeline, pathlib.Path.cwd())

    async def _start_on_log(self) -> None:
        self._event_log = log = await opening.open_log(self._pipeline, self._data, self._secrets, self._failpoint)
        self._stack.push_async_callback(log.close)
        if self._data:
            self._retired = retired.Retired(self._data, self._pipeline, log)
            self._retired.note()
        self._desk = replays.ReplayDesk(log, self._pipeline, self._failpoint)
        self._lanes = running = lane_set.LaneSet(self._pipeline, log, self._failpoint)
        self._stack.push_async_callback(running.close)
        if self._cast.lanes:
            await renames.carry_over(log, self._pipeline)
        for sink in self._pipeline.spec.sinks:
            if (address := self._cast.lanes.get(sink.name)) is not None:
                await running.open(sink, address, patient=sink.name not in self._cast.served)
        if self._cast.doors:
            told = self._addresses
            self._doors = doors.Doors(
                self._pipeline, log, self._secrets, self._failpoint, grpc_address=told.grpc, http_address=told.http
            )
            self._stack.push_async_callback(self._doors.close)
            await self._doors.start()
        kept = upkeep.Upkeep(self._pipeline, log, running, self._retired)
        self._letters = kept.letters
        for seconds, chore in (
            (upkeep.REPORT_SECONDS, kept.report),
            (upkeep.TRIM_SECONDS, kept.trim),
            (letter_counts.COUNT_SECONDS, kept.letters.count),
            (letter_counts.SAVE_SECONDS, kept.letters.save),
        ):
            self._keep_running(asyncio.create_task(upkeep.regularly(seconds, chore)))

    def _keep_running(self, task: asyncio.Task[None]) -> None:
        self._stack.callback(task.cancel)

    async def _start_telemetry(self) -> None:
        self._keep_running(asyncio.create_task(runtime.watch()))
        self._keep_running(asyncio.create_task(self._live()))
        exposed = exposition.MetricsServer(self._addresses.metrics, alive=self._why_dead, ready=self.why_not_ready)
        await exposed.start()
        self._stack.push_async_callback(exposed.close)
        self.metrics_address = exposed.address

    async def _live(self) -> None:
        while True:
            self._alive_at = time.monotonic()
            await asyncio.sleep(1.0)

    def _why_dead(self) -> str:
        """Called by another thread, which goes on when this process's loop does not."""
        silent = time.monotonic() - self._alive_at
        return "" if silent < _SILENT_SECONDS else f"the event loop has stood still for {silent:.0f} s"

    def why_not_ready(self) -> str:
        """Why events, or partitions, should not be sent here; empty when they should. Called by any thread."""
        if self._lifecycle != "Running":
            return self._lifecycle
        waiting = self._lanes.not_ready() if self._lanes else ""
        return f"no partitions have been assigned yet: {waiting}" if waiting else ""

    async def _start_control(self) -> None:
        socket = self._data.socket("control") if self._data else None
        serving = control_server.ControlServer(control.ControlServicer(self), self.why_not_ready)
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
        self._lifecycle = "Drained" if done else "Draining"
        return done

    async def release(self, timeout_seconds: float) -> bool:
        """Refuse new events, land what has been read, commit, and leave the rest to other processes."""
        await self.refuse()
        return await self._lanes.release(timeout_seconds) if self._lanes else True

    async def refuse(self) -> None:
        """Take no more events."""
        self._lifecycle = "Draining"
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
            lifecycle=self._lifecycle,
            log_id=log.log_id if log else "",
            log_bytes=await self._log_bytes(),
            ingest=self._doors.status() if self._doors else None,
            lanes=await self._lane_statuses(self._lanes) if self._lanes else [],
            retired=await self._retired.report() if self._retired else [],
            uptime_seconds=time.monotonic() - self._began,
            cpu_seconds=time.process_time(),
        )

    async def _lane_statuses(self, running: lane_set.LaneSet) -> list[control_pb2.LaneStatus]:
        found = await running.reports()
        if self._letters:
            with contextlib.suppress(port.LogUnavailableError, TimeoutError):
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._letters.add_to(found)
        return found

    async def _log_bytes(self) -> int:
        """0 while the log does not answer: what is known of the lanes is told all the same."""
        with contextlib.suppress(port.LogUnavailableError, TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await self._event_log.size_bytes() if self._event_log else 0
        return 0

    @property
    def _here(self) -> lane_set.LaneSet:
        if self._lanes is None:
            raise control.NotHereError("no lanes run in this process; ask a batcher")
        return self._lanes

    def apply(self, sink: str, write_model: model.WriteModel) -> None:
        self._here.apply(sink, write_model)

    async def set_lifecycle(self, sink: str, lifecycle: str) -> str:
        return self._here.set_lifecycle(sink, lifecycle)

    async def query(self, sink: str, sql: str) -> pa.Table:
        return await self._stores.query(sink, sql)

    def replay(self, request: control_pb2.ReplayRequest) -> AsyncIterator[control_pb2.ReplayProgress]:
        _ = self._here
        return self._desk.replay(request)

    async def skip(self, request: control_pb2.SkipRequest) -> control_pb2.SkipResponse:
        return await self._here.skip(request)

    async def drop_lane(self, request: control_pb2.DropLaneRequest) -> control_pb2.DropLaneResponse:
        if self._retired is None:
            raise retired.DropRefusedError("this process keeps no record of removed sinks; the operator does")
        return await self._retired.drop(request.sink, confirmed=request.confirmed)

    async def discard(self, request: control_pb2.DiscardRequest) -> control_pb2.DiscardResponse:
        _ = self._here
        return await self._desk.discard(request)


async def is_drained(
    pipeline: api_pipeline.BatchPipeline, data: directory.DataDirectory, secret_store: secrets.SecretStore
) -> bool:
    """Whether every lane of `pipeline` has finished what stands in the log, and in its replay log. Raises LogError."""
    if not opening.is_shared(pipeline) and not data.log_path.exists():
        return True
    log = await opening.open_log(pipeline, data, secret_store, read_only=True)
    try:
        for sink in pipeline.spec.sinks:
            group = lanes.lane_for(pipeline, sink).lane
            # What a sink's old name has not replayed nobody would replay: its letters would be in the middle of it for ever.
            for topic in (port.EVENTS, port.replay_topic(sink.name)):
                if not await _is_finished(log, topic, group):
                    return False
        return True
    finally:
        await log.close()


async def _is_finished(log: port.EventLog, topic: str, group: str) -> bool:
    commits = await log.committed(topic, group)
    for partition in range(log.partitions):
        end = (await log.bounds(topic, partition)).end
        commit = commits.get(partition)
        if end and (commit is None or commit.offset < end):
            return False
    return True
