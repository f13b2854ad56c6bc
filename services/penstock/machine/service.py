"""One machine: the doors, the log, the lanes and the sinks of one pipeline in one process, and their life together.

The servicers are the ones the pods run, each sink behind its own socket; only the channel is local.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import pathlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import grpc
import pyarrow as pa
import structlog

from penstock.api.model import log as api_log
from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import sinks as api_sinks
from penstock.batcher import lane as batcher_lane
from penstock.batcher import sink_client, status
from penstock.core import failpoints
from penstock.core.batching import model
from penstock.ingest import service as ingest_service
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.machine import control, directory, lanes, renames, replays, retention, retired, secrets, skipping
from penstock.sinks import port as sinks_port
from penstock.sinks import registry, server
from penstock.telemetry import exposition, metrics, runtime
from penstock.v1 import control_pb2, control_pb2_grpc

_log = structlog.get_logger()

_REPORT_SECONDS = 1.0
_TRIM_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the doors listen; port 0 takes a free one."""

    grpc: str = "127.0.0.1:9090"
    http: str = "127.0.0.1:8080"
    metrics: str = "127.0.0.1:9464"


class Machine:
    """A running pipeline. `start`, then `drain` or not, then `close`."""

    def __init__(
        self,
        pipeline: api_pipeline.BatchPipeline,
        data: directory.DataDirectory,
        addresses: Addresses,
        environment: Mapping[str, str] | None = None,
        failpoint: failpoints.Failpoint = failpoints.nothing,
    ) -> None:
        """`environment` may hold secrets; see machine.secrets."""
        self._failpoint = failpoint
        self._pipeline, self._data, self._addresses = pipeline, data, addresses
        self._secrets = secrets.SecretStore(data.secrets_path, environment or {}, secrets.names(pipeline))
        self._stack = contextlib.AsyncExitStack()
        self._lanes: dict[str, batcher_lane.Lane] = {}
        self._reporters: dict[str, status.Reporter] = {}
        self._writers: dict[str, sinks_port.SinkWriter] = {}
        self._sink_addresses: dict[str, str] = {}
        self._skipping = asyncio.Lock()
        self._lifecycle = "Running"
        self._began = time.monotonic()

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
        self._data.create()
        spec = self._pipeline.spec
        self._event_log = await embedded.EmbeddedLog.open(
            self._data.log_path,
            partitions=lanes.partitions(self._pipeline),
            max_bytes=self._retention.max_bytes,
            failpoint=self._failpoint,
        )
        self._stack.push_async_callback(self._event_log.close)
        self._retired = retired.Retired(self._data, self._pipeline, self._event_log)
        self._retired.note()
        await renames.carry_over(self._event_log, self._pipeline)
        for sink in spec.sinks:
            await self._start_lane(sink)
        self._desk = replays.ReplayDesk(self._event_log, self._pipeline, self._failpoint)
        await self._start_ingest()
        await self._start_telemetry()
        await self._start_control()
        self._data.pin(self._pipeline, pathlib.Path.cwd())

    async def _start_lane(self, sink: api_sinks.Sink) -> None:
        writer = registry.open_writer(sink, directory=pathlib.Path.cwd(), secrets=self._secrets.value, failpoint=self._failpoint)
        self._stack.push_async_callback(writer.close)
        served = server.SinkServer(writer, sink_type=sink.type, address=f"unix:{self._data.socket(f'sink-{sink.name}')}")
        await served.start()
        self._stack.push_async_callback(served.close)
        self._writers[sink.name], self._sink_addresses[sink.name] = writer, served.address
        self._stack.push_async_callback(self._stop_lane, sink.name)
        await self._open_lane(sink, paused="Paused" in (sink.lifecycle, self._pipeline.spec.lifecycle))

    async def _open_lane(self, sink: api_sinks.Sink, *, paused: bool) -> None:
        settings = dataclasses.replace(lanes.lane_for(self._pipeline, sink), failpoint=self._failpoint)
        client = sink_client.SinkClient(self._sink_addresses[sink.name])
        lane = self._lanes[sink.name] = batcher_lane.Lane(settings, self._event_log, client)
        await lane.start()
        if paused:
            lane.pause()
        self._reporters[sink.name] = status.Reporter(lane)

    async def _stop_lane(self, sink: str) -> None:
        self._reporters.pop(sink, None)
        if lane := self._lanes.pop(sink, None):
            await lane.stop()

    async def _start_ingest(self) -> None:
        doors = lanes.ingest_for(self._pipeline, grpc_address=self._addresses.grpc, http_address=self._addresses.http)
        settings = dataclasses.replace(doors, failpoint=self._failpoint)
        self._ingest = ingest_service.IngestService(
            settings, self._event_log, tokens=self._secret("auth"), certificate=self._secret("tls")
        )
        self._stack.push_async_callback(self._ingest.close)
        await self._ingest.start()

    def _secret(self, member: str) -> secrets.Secret | None:
        """The secret that `auth` or `tls` of the doors names, if it is asked for."""
        told = getattr(self._pipeline.spec.source.ingest, member, None)
        if told is None or getattr(told, "type", "") == "None":
            return None
        return self._secrets.named(told.secret_ref.name)

    async def _start_telemetry(self) -> None:
        chores = (self._regularly(_REPORT_SECONDS, self._report), self._regularly(_TRIM_SECONDS, self._trim))
        for task in (runtime.watch(), *chores):
            running = asyncio.create_task(task)
            self._stack.callback(running.cancel)
        exposed = exposition.MetricsServer(self._addresses.metrics)
        await exposed.start()
        self._stack.push_async_callback(exposed.close)
        self.metrics_address = exposed.address

    async def _start_control(self) -> None:
        serving = grpc.aio.server()
        control_pb2_grpc.add_ControlServicer_to_server(control.ControlServicer(self), serving)
        socket = self._data.socket("control")
        socket.unlink(missing_ok=True)
        serving.add_insecure_port(self._data.control_address)
        await serving.start()
        socket.chmod(0o600)
        self._stack.push_async_callback(serving.stop, 0.5)

    @property
    def grpc_address(self) -> str:
        return str(self._ingest.ports.grpc)

    @property
    def http_address(self) -> str:
        return str(self._ingest.ports.http)

    async def drain(self, timeout_seconds: float) -> bool:
        """Refuse new events, land what is in the log, commit; whether all of it could be done within the bound."""
        self._lifecycle = "Draining"
        await self._ingest.drain()
        done = await asyncio.gather(*(lane.drain(timeout_seconds) for lane in self._lanes.values()))
        self._lifecycle = "Drained" if all(done) else "Draining"
        return all(done)

    async def close(self) -> None:
        """End everything, the doors first. What is unfinished is read again at the next start."""
        await self._stack.aclose()

    async def _regularly(self, seconds: float, chore: Callable[[], Awaitable[None]]) -> None:
        """A chore that fails is tried again in its next turn; it is told once, not at each turn."""
        failing = False
        while True:
            await asyncio.sleep(seconds)
            try:
                await chore()
                failing = False
            except Exception:
                if not failing:
                    _log.exception("chore_failed", chore=chore.__name__)
                failing = True

    async def _report(self) -> None:
        metrics.LOG_BYTES.labels(**self._labels).set(await self._event_log.size_bytes())
        for reporter in list(self._reporters.values()):
            await reporter.report()

    async def _trim(self) -> None:
        told = self._pipeline.spec.deduplicate
        await self._retired.expire()
        await retention.trim(
            self._event_log,
            [lanes.lane_for(self._pipeline, sink).lane for sink in self._pipeline.spec.sinks] + self._retired.groups(),
            keep_seconds=self._retention.hours * 3600.0,
            window_seconds=told.window_seconds if told else 0.0,
            stateful=self._pipeline.spec.transform.state is not None,
        )
        letters_seconds = self._pipeline.spec.dead_letters.retention_hours * 3600.0
        await retention.trim_letters(self._event_log, keep_seconds=letters_seconds)
        await retention.trim_replays(
            self._event_log,
            {sink: lane.settings.lane for sink, lane in self._lanes.items()},
            keep_seconds=max(self._retention.hours * 3600.0, letters_seconds),
        )

    @property
    def _retention(self) -> api_log.Retention:
        told = self._pipeline.spec.log
        return told.retention if told else api_log.Retention()

    @property
    def _labels(self) -> dict[str, str]:
        return {"pipeline": self._pipeline.metadata.name, "namespace": self._pipeline.metadata.namespace}

    # -- what the control socket asks

    async def status(self) -> control_pb2.StatusResponse:
        taken = self._ingest.stats()
        return control_pb2.StatusResponse(
            namespace=self._pipeline.metadata.namespace,
            pipeline=self._pipeline.metadata.name,
            lifecycle=self._lifecycle,
            log_id=self._event_log.log_id,
            log_bytes=await self._event_log.size_bytes(),
            ingest=control_pb2.IngestStatus(
                accepted=taken.accepted,
                rejected=taken.rejected,
                refused_requests=taken.refused_requests,
                blocks=taken.blocks,
                bytes_in_flight=taken.bytes_in_flight,
            ),
            lanes=[await reporter.report() for reporter in list(self._reporters.values())],
            retired=await self._retired.report(),
            uptime_seconds=time.monotonic() - self._began,
            cpu_seconds=time.process_time(),
        )

    def apply(self, sink: str, write_model: model.WriteModel) -> None:
        self._named(sink).apply(write_model)

    def _named(self, sink: str) -> batcher_lane.Lane:
        if sink not in self._lanes:
            raise KeyError(f'no sink "{sink}" here; there are: {", ".join(self._lanes)}')
        return self._lanes[sink]

    async def set_lifecycle(self, sink: str, lifecycle: str) -> str:
        chosen = [self._named(sink)] if sink else list(self._lanes.values())
        if lifecycle not in {"Running", "Paused"}:
            raise ValueError(f'lifecycle "{lifecycle}" can\'t be asked for here; use Running or Paused')
        for lane in chosen:
            lane.resume() if lifecycle == "Running" else lane.pause()
        return lifecycle

    async def query(self, sink: str, sql: str) -> pa.Table:
        self._named(sink or next(iter(self._lanes)))
        try:
            return await self._writers[sink or next(iter(self._writers))].query(sql)
        except sinks_port.SinkError as error:
            raise control.QueryRefusedError(error.failure.message) from error

    def replay(self, request: control_pb2.ReplayRequest) -> AsyncIterator[control_pb2.ReplayProgress]:
        return self._desk.replay(request)

    async def skip(self, request: control_pb2.SkipRequest) -> control_pb2.SkipResponse:
        asked = skipping.Asked(
            partition=request.partition if request.HasField("partition") else None,
            to=request.to if request.HasField("to") else None,
            readable_too=request.readable_too,
        )
        async with self._skipping:
            lane = self._named(request.sink)
            if lane.state is not batcher_lane.State.HALTED and not request.readable_too:
                raise skipping.SkipRefusedError(
                    f"{request.sink} is {lane.state.value}: only a halted lane has something in its way; to leave out blocks"
                    " that can be read, name --partition, --to and --readable-too"
                )
            if not request.confirmed:
                return skipping.message(await skipping.plan(self._event_log, lane.settings, asked), done=False)
            return await self._skip(lane, asked)

    async def _skip(self, lane: batcher_lane.Lane, asked: skipping.Asked) -> control_pb2.SkipResponse:
        """Between the end of the lane and a new one: what it has finished until then is committed and not in the plan."""
        (sink,) = (one for one in self._pipeline.spec.sinks if one.name == lane.settings.sink)
        paused = lane.state is batcher_lane.State.PAUSED
        await self._stop_lane(sink.name)
        try:
            made = await skipping.plan(self._event_log, lane.settings, asked)
            await skipping.apply(self._event_log, lane.settings, made)
        finally:
            await self._open_lane(sink, paused=paused)
        return skipping.message(made, done=True)

    async def drop_lane(self, request: control_pb2.DropLaneRequest) -> control_pb2.DropLaneResponse:
        return await self._retired.drop(request.sink, confirmed=request.confirmed)

    async def discard(self, request: control_pb2.DiscardRequest) -> control_pb2.DiscardResponse:
        return await self._desk.discard(request)


async def is_drained(pipeline: api_pipeline.BatchPipeline, data: directory.DataDirectory) -> bool:
    """Whether every lane of `pipeline` has finished what stands in the log. Raises LogError."""
    if not data.log_path.exists():
        return True
    log = await embedded.EmbeddedLog.open(data.log_path, read_only=True)
    try:
        groups = [lanes.lane_for(pipeline, sink).lane for sink in pipeline.spec.sinks]
        for partition in range(log.partitions):
            end = (await log.bounds(port.EVENTS, partition)).end
            for group in groups:
                commit = (await log.committed(port.EVENTS, group)).get(partition)
                if end and (commit is None or commit.offset < end):
                    return False
        return True
    finally:
        await log.close()
