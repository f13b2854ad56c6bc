"""The lanes that run in this process, by the name of their sink."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable

import structlog

from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import sinks as api_sinks
from penstock.batcher import following, status
from penstock.batcher import lane as batcher_lane
from penstock.batcher.writing import sink_client
from penstock.core import breaker, delivery, failpoints, results
from penstock.core.batching import model
from penstock.log import port
from penstock.machine import lanes, skipping, sourcing
from penstock.machine.parts import draining, settled
from penstock.machine.peers import gate
from penstock.v1 import control_pb2

_log = structlog.get_logger()

_SINK_RETRY_SECONDS = 1.0
_RELEASE_SECONDS = 10.0


class LaneSet:
    """`open` each, then `close`. What is asked by name raises KeyError for a sink that has no lane here."""

    def __init__(
        self, pipeline: api_pipeline.BatchPipeline, log: port.EventLog, failpoint: failpoints.Failpoint, peers: gate.Peers
    ) -> None:
        self._settled = settled.Settled(pipeline)
        self._log, self._failpoint, self._peers = log, failpoint, peers
        self._lanes: dict[str, batcher_lane.Lane] = {}
        self._reporters: dict[str, status.Reporter] = {}
        self._addresses: dict[str, str] = {}
        self._draining = draining.Draining()
        self._opening: set[asyncio.Task[None]] = set()
        self._skipping = asyncio.Lock()
        self.waiting: dict[str, str] = {}
        """Why lanes that are to run have not begun, by sink."""
        self._troubles: dict[str, results.Failure] = {}

    async def open(self, sink: api_sinks.Sink, address: str, *, patient: bool = False) -> None:
        """Start the lane of `sink`, which is served at `address`. Raises WriteFailedError, LogError.

        `patient`: wait for a sink that does not answer yet, or whose table is still to be mended.
        """
        self._addresses[sink.name] = address
        lifecycle = "Paused" if sink.lifecycle == "Paused" else self._pipeline.spec.lifecycle
        while True:
            try:
                await self._open(sink, lifecycle)
            except delivery.WriteFailedError as error:
                if not patient:
                    raise
                self._wait(sink.name, address, error.failure)
                await asyncio.sleep(_SINK_RETRY_SECONDS)
            except port.LogUnavailableError as error:
                self._wait(sink.name, address, _away(error))
                await asyncio.sleep(_SINK_RETRY_SECONDS)
            else:
                self.waiting.pop(sink.name, None)
                self._troubles.pop(sink.name, None)
                return

    def _wait(self, sink: str, address: str, failure: results.Failure) -> None:
        why = f"{failure.code}: {failure.message}" + (f"; {failure.remedy}" if failure.remedy else "")
        if self.waiting.get(sink) != why:
            _log.warning("sink_unreachable", sink=sink, address=address, code=failure.code, message=failure.message)
        self.waiting[sink], self._troubles[sink] = why, failure

    async def _open(self, sink: api_sinks.Sink, lifecycle: str) -> None:
        now = self._pipeline
        lane_settings = lanes.lane_for(now, self._settled.sink(sink.name))
        settings = dataclasses.replace(sourcing.reading(now, self._log, lane_settings), failpoint=self._failpoint)
        client = sink_client.SinkClient(self._addresses[sink.name], dial=self._peers.channel)
        lane = batcher_lane.Lane(settings, self._log, client)
        try:
            await lane.start()
        except BaseException:
            await lane.stop()
            raise
        if lifecycle == "Paused":
            lane.pause()
        self._lanes[sink.name], self._reporters[sink.name] = lane, status.Reporter(lane)
        if lifecycle == "Draining":
            self._draining.begin(lane)

    async def _open_again(self, sink: api_sinks.Sink, lifecycle: str) -> None:
        """A sink or brokers that are away just now are waited for by themselves."""
        try:
            await self._open(sink, lifecycle)
        except (delivery.WriteFailedError, port.LogUnavailableError):
            opening = asyncio.create_task(self.open(sink, self._addresses[sink.name], patient=True))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _stop(self, sink: str, last: batcher_lane.Last | None = None) -> None:
        self._reporters.pop(sink, None)
        if lane := self._lanes.pop(sink, None):
            self._draining.end(lane)
            await lane.stop(last)

    async def close(self) -> None:
        for opening in self._opening:
            opening.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        for sink in list(self._lanes):
            await self._stop(sink)

    @property
    def _pipeline(self) -> api_pipeline.BatchPipeline:
        return self._settled.pipeline

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

    @property
    def drained(self) -> bool:
        """Whether each lane has been told to drain, and has."""
        return bool(self._lanes) and all(lane.state is batcher_lane.State.DRAINED for lane in self._lanes.values())

    def not_ready(self) -> str:
        """The lanes that have not heard yet which partitions are theirs; empty when all have."""
        return ", ".join(sink for sink, lane in self._lanes.items() if not lane.assigned)

    async def reports(self) -> list[control_pb2.LaneStatus]:
        found = [await reporter.report() for reporter in list(self._reporters.values())]
        for sink, why in self.waiting.items():
            trouble = status.trouble(self._troubles.get(sink))
            found.append(control_pb2.LaneStatus(sink=sink, state="Starting", message=why, trouble=trouble))
        for one in found:
            one.settings_version = self._settled.version(one.sink)
        return found

    def follow(self, sink: str, told: settled.Told) -> None:
        """Do as these settings say from now on. Raises ValueError for ones that can't be used."""
        if not self._settled.take(sink, told):
            return
        _log.info("settings", sink=sink, version=told.version, generation=told.generation)
        if lane := self._lanes.get(sink):
            following.follow(lane, lanes.lane_for(self._pipeline, self._settled.sink(sink)))

    def open_circuit(self, sink: str, why: str) -> None:
        """Hold off from the store as others do who found it away."""
        lane = self[sink]
        if lane.circuit.trip(time.monotonic(), why):
            _log.warning("circuit_opened_with_others", sink=sink, why=why)
            lane.dispatcher.wake()

    def apply(self, sink: str, write_model: model.WriteModel | None, circuit: breaker.Mode | None) -> None:
        """Follow this model, and this mode of the circuit breaker, from now on; None: as before."""
        lane = self[sink]
        if write_model is not None:
            lane.dispatcher.apply(write_model)
        if circuit is not None:
            _log.info("circuit_mode", sink=sink, mode=circuit.value)
            lane.circuit.set_mode(circuit)
            lane.dispatcher.wake()

    def set_lifecycle(self, sink: str, lifecycle: str) -> str:
        """Of one lane, or of all. Raises ValueError for a lifecycle that can't be asked for here."""
        chosen = [self[sink]] if sink else list(self._lanes.values())
        if lifecycle not in {"Running", "Paused", "Draining"}:
            raise ValueError(f'lifecycle "{lifecycle}" can\'t be asked for here; use Running, Paused or Draining')
        for lane in chosen:
            self._draining.end(lane)
            lane.pause() if lifecycle == "Paused" else lane.resume()
            if lifecycle == "Draining":
                self._draining.begin(lane)
        return lifecycle

    async def drain(self, timeout_seconds: float) -> bool:
        """Land all that is in the log; whether that could be done within the bound."""
        return all(await asyncio.gather(*(lane.drain(timeout_seconds) for lane in self._lanes.values())))

    async def release(self, timeout_seconds: float) -> bool:
        """Land what has been read and leave the rest to others; whether that could be done within the bound."""
        for lane in self._lanes.values():
            self._draining.end(lane)
        return all(await asyncio.gather(*(lane.release(timeout_seconds) for lane in self._lanes.values())))

    async def anew(self, change: Callable[[], Awaitable[None]]) -> None:
        """End all lanes, do `change` while nobody reads the log, and begin them again. Raises what `change` raises."""
        async with self._skipping:
            begun = {sink: self._draining.lifecycle(lane) for sink, lane in self._lanes.items()}
            await self.release(_RELEASE_SECONDS)
            for opening in self._opening:
                opening.cancel()
            await asyncio.gather(*self._opening, return_exceptions=True)
            waited = dict.fromkeys(self.waiting, "Running")
            for sink in begun:
                await self._stop(sink)
            try:
                await change()
            finally:
                for one in self._pipeline.spec.sinks:
                    if lifecycle := (begun | waited).get(one.name):
                        await self._open_again(one, lifecycle)

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
                return skipping.message(await skipping.plan(self._log, lane.settings, asked, lane.partitions), done=False)
            return await self._skip(lane, asked)

    async def _skip(self, lane: batcher_lane.Lane, asked: skipping.Asked) -> control_pb2.SkipResponse:
        """Between the lane's last commit and its leaving the group: what it has finished until then is not in the plan, and
        nobody else can have begun with the partition."""
        (sink,) = (one for one in self._pipeline.spec.sinks if one.name == lane.settings.sink)
        lifecycle = "Paused" if lane.state is batcher_lane.State.PAUSED else "Running"
        made: list[skipping.Plan] = []

        async def last(subscription: port.Subscription) -> None:
            planned = await skipping.plan(self._log, lane.settings, asked, lane.partitions)
            await skipping.apply(self._log, lane.settings, planned, subscription.commit)
            made.append(planned)

        try:
            await self._stop(sink.name, last)
        finally:
            await self._open_again(sink, lifecycle)
        if not made:
            raise skipping.SkipRefusedError(f"{sink.name} is not a member of its group now; try again in a moment")
        return skipping.message(made[0], done=True)


def _away(error: port.LogUnavailableError) -> results.Failure:
    return results.Failure(result_class=results.ResultClass.OUTAGE, code="LogUnavailable", message=str(error))
