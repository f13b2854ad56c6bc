"""The lanes that run in this process, by the name of their sink."""

from __future__ import annotations

import asyncio
import dataclasses

import structlog

from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import sinks as api_sinks
from penstock.batcher import lane as batcher_lane
from penstock.batcher import status
from penstock.batcher.writing import sink_client
from penstock.core import delivery, failpoints, results
from penstock.core.batching import model
from penstock.log import port
from penstock.machine import lanes, skipping
from penstock.v1 import control_pb2

_log = structlog.get_logger()

_SINK_RETRY_SECONDS = 1.0


class LaneSet:
    """`open` each, then `close`. What is asked by name raises KeyError for a sink that has no lane here."""

    def __init__(self, pipeline: api_pipeline.BatchPipeline, log: port.EventLog, failpoint: failpoints.Failpoint) -> None:
        self._pipeline, self._log, self._failpoint = pipeline, log, failpoint
        self._lanes: dict[str, batcher_lane.Lane] = {}
        self._reporters: dict[str, status.Reporter] = {}
        self._addresses: dict[str, str] = {}
        self._skipping = asyncio.Lock()

    async def open(self, sink: api_sinks.Sink, address: str, *, patient: bool = False) -> None:
        """Start the lane of `sink`, which is served at `address`. Raises WriteFailedError, LogError.

        `patient`: wait for a sink that does not answer yet.
        """
        self._addresses[sink.name] = address
        paused = "Paused" in (sink.lifecycle, self._pipeline.spec.lifecycle)
        while True:
            try:
                return await self._open(sink, paused=paused)
            except delivery.WriteFailedError as error:
                if not patient or error.failure.result_class is not results.ResultClass.OUTAGE:
                    raise
                _log.warning("sink_unreachable", sink=sink.name, address=address, message=error.failure.message)
                await asyncio.sleep(_SINK_RETRY_SECONDS)

    async def _open(self, sink: api_sinks.Sink, *, paused: bool) -> None:
        settings = dataclasses.replace(lanes.lane_for(self._pipeline, sink), failpoint=self._failpoint)
        lane = batcher_lane.Lane(settings, self._log, sink_client.SinkClient(self._addresses[sink.name]))
        try:
            await lane.start()
        except BaseException:
            await lane.stop()
            raise
        if paused:
            lane.pause()
        self._lanes[sink.name], self._reporters[sink.name] = lane, status.Reporter(lane)

    async def _stop(self, sink: str) -> None:
        self._reporters.pop(sink, None)
        if lane := self._lanes.pop(sink, None):
            await lane.stop()

    async def close(self) -> None:
        for sink in list(self._lanes):
            await self._stop(sink)

    def __getitem__(self, sink: str) -> batcher_lane.Lane:
        if sink not in self._lanes:
            raise KeyError(f'no lane of a sink "{sink}" runs here; there are: {", ".join(self._lanes) or "none"}')
        return self._lanes[sink]

    @property
    def groups(self) -> dict[str, str]:
        """The consumer group of each lane, by sink."""
        return {sink: lane.settings.lane for sink, lane in self._lanes.items()}

    @property
    def failures(self) -> list[results.Failure]:
        """Why lanes are halted."""
        return [lane.failure for lane in self._lanes.values() if lane.failure]

    def not_ready(self) -> str:
        """The lanes that have not heard yet which partitions are theirs; empty when all have."""
        return ", ".join(sink for sink, lane in self._lanes.items() if not lane.assigned)

    async def reports(self) -> list[control_pb2.LaneStatus]:
        return [await reporter.report() for reporter in list(self._reporters.values())]

    def apply(self, sink: str, write_model: model.WriteModel) -> None:
        self[sink].apply(write_model)

    def set_lifecycle(self, sink: str, lifecycle: str) -> str:
        """Of one lane, or of all. Raises ValueError for a lifecycle that can't be asked for here."""
        chosen = [self[sink]] if sink else list(self._lanes.values())
        if lifecycle not in {"Running", "Paused"}:
            raise ValueError(f'lifecycle "{lifecycle}" can\'t be asked for here; use Running or Paused')
        for lane in chosen:
            lane.resume() if lifecycle == "Running" else lane.pause()
        return lifecycle

    async def drain(self, timeout_seconds: float) -> bool:
        """Land all that is in the log; whether that could be done within the bound."""
        return all(await asyncio.gather(*(lane.drain(timeout_seconds) for lane in self._lanes.values())))

    async def release(self, timeout_seconds: float) -> bool:
        """Land what has been read and leave the rest to others; whether that could be done within the bound."""
        return all(await asyncio.gather(*(lane.release(timeout_seconds) for lane in self._lanes.values())))

    async def skip(self, request: control_pb2.SkipRequest) -> control_pb2.SkipResponse:
        """Raises SkipRefusedError, LogError."""
        asked = skipping.Asked(
            partition=request.partition if request.HasField("partition") else None,
            to=request.to if request.HasField("to") else None,
            readable_too=request.readable_too,
        )
        async with self._skipping:
            lane = self[request.sink]
            if lane.state is not batcher_lane.State.HALTED and not request.readable_too:
                raise skipping.SkipRefusedError(
                    f"{request.sink} is {lane.state.value}: only a halted lane has something in its way; to leave out blocks"
                    " that can be read, name --partition, --to and --readable-too"
                )
            if not request.confirmed:
                return skipping.message(await skipping.plan(self._log, lane.settings, asked), done=False)
            return await self._skip(lane, asked)

    async def _skip(self, lane: batcher_lane.Lane, asked: skipping.Asked) -> control_pb2.SkipResponse:
        """Between the end of the lane and a new one: what it has finished until then is committed and not in the plan."""
        (sink,) = (one for one in self._pipeline.spec.sinks if one.name == lane.settings.sink)
        paused = lane.state is batcher_lane.State.PAUSED
        await self._stop(sink.name)
        try:
            made = await skipping.plan(self._log, lane.settings, asked)
            await skipping.apply(self._log, lane.settings, made)
        finally:
            await self._open(sink, paused=paused)
        return skipping.message(made, done=True)
