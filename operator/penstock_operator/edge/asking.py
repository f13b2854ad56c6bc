"""What pods say of themselves: every one of them is asked every ten seconds, a few at a time, and nobody waits for an answer.

A look at a pipeline takes what was said last. What a reader should not see late (a lane that halts, a circuit that opens)
causes a look; counts cause one every half minute.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Final

import grpc
import structlog

from penstock.v1 import control_pb2, control_pb2_grpc
from penstock_operator import actions, reconcile, snapshot
from penstock_operator.edge import tokens
from penstock_operator.reporting import status
from penstock_operator.resources import identity, pods

EVERY_SECONDS: Final = 10.0
STALE_SECONDS: Final = 35.0
"""What a pod said this long ago is not held to be true any more."""
_TIMEOUT_SECONDS: Final = 3.0
_AT_ONCE: Final = 32
OPTIONS: Final = (("grpc.enable_retries", 0), ("grpc.max_receive_message_length", 1 << 20))

_log = structlog.get_logger()


class HungUpError(Exception):
    """The pod has gone while it was asked."""


@dataclasses.dataclass(slots=True)
class _Pod:
    name: str
    role: str
    address: str
    channel: grpc.aio.Channel
    report: snapshot.PodReport | None = None
    heard: float = 0.0
    key: int = 0


class Asker:
    """`changed` is called with a pipeline that should be looked at; `monotonic` is in seconds."""

    def __init__(
        self, known: tokens.Tokens, changed: Callable[[reconcile.PipelineRef], None], monotonic: Callable[[], float]
    ) -> None:
        self._tokens, self._changed, self._monotonic = known, changed, monotonic
        self._pods: collections.defaultdict[reconcile.PipelineRef, dict[str, _Pod]] = collections.defaultdict(dict)
        self._told: dict[reconcile.PipelineRef, tuple[Any, float]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._closing: set[asyncio.Task[None]] = set()

    def reports(self, pipeline: reconcile.PipelineRef, live: Sequence[snapshot.Manifest]) -> tuple[snapshot.PodReport, ...]:
        """What these pods said lately; the others of the pipeline are forgotten."""
        known = self._pods[pipeline]
        there = {one["metadata"]["uid"]: one for one in live if address_of(one)}
        for uid in known.keys() - there.keys():
            self._hang_up(known.pop(uid))
        for uid, manifest in there.items():
            if uid not in known:
                known[uid] = self._called(manifest)
        if not known:
            self.forget(pipeline)
        since = self._monotonic() - STALE_SECONDS
        return tuple(one.report for one in known.values() if one.report and one.heard >= since)

    def forget(self, pipeline: reconcile.PipelineRef) -> None:
        """Ask no pod of it any more."""
        for one in self._pods.pop(pipeline, {}).values():
            self._hang_up(one)
        self._told.pop(pipeline, None)

    def _called(self, manifest: snapshot.Manifest) -> _Pod:
        address = address_of(manifest)
        return _Pod(
            name=str(manifest["metadata"]["name"]),
            role=str(manifest["metadata"]["labels"].get(identity.ROLE_LABEL, "")),
            address=address,
            channel=grpc.aio.insecure_channel(address, options=OPTIONS),
        )

    def _hang_up(self, one: _Pod) -> None:
        task = asyncio.get_running_loop().create_task(one.channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            began = self._monotonic()
            await asyncio.gather(*(self._round(pipeline) for pipeline in list(self._pods)))
            await asyncio.sleep(max(1.0, EVERY_SECONDS - (self._monotonic() - began)))

    async def _round(self, pipeline: reconcile.PipelineRef) -> None:
        await asyncio.gather(*(self._ask(pipeline, one) for one in list(self._pods.get(pipeline, {}).values())))
        now = self._monotonic()
        said = tuple(one.report for one in self._pods.get(pipeline, {}).values() if one.heard >= now - STALE_SECONDS)
        seen, when = self._told.get(pipeline, (None, 0.0))
        urgent = tuple(_urgent(report) for report in said if report)
        # Also where nobody answers: how long that has been so is told.
        if urgent != seen or now - when >= status.COUNTERS_SECONDS:
            self._told[pipeline] = urgent, now
            self._changed(pipeline)

    async def _ask(self, pipeline: reconcile.PipelineRef, one: _Pod) -> None:
        async with self._turns:
            try:
                said = await self._call(pipeline, one, "Status", control_pb2.StatusRequest())
            except grpc.aio.AioRpcError as error:
                _log.debug("pod_silent", pod=one.name, code=error.code().name)
                return
            except HungUpError:
                return
        one.report, one.heard = report(one.name, one.role, one.address, said), self._monotonic()

    async def _call(self, pipeline: reconcile.PipelineRef, one: _Pod, method: str, request: Any) -> Any:
        """With the token that was right last, else with the others. Raises AioRpcError, HungUpError."""
        known = self._tokens.all(pipeline)
        for attempt in range(len(known)):
            token = known[(one.key + attempt) % len(known)]
            stub = control_pb2_grpc.ControlStub(one.channel)
            try:
                said = await getattr(stub, method)(
                    request, timeout=_TIMEOUT_SECONDS, metadata=(("authorization", f"Bearer {token}"),)
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAUTHENTICATED or attempt == len(known) - 1:
                    raise
                continue
            except grpc.aio.UsageError:  # It was closed before.
                raise HungUpError(one.name) from None
            except asyncio.CancelledError:
                # A channel that is closed cancels its calls in the name of whoever waits for them.
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                raise HungUpError(one.name) from None
            one.key = (one.key + attempt) % len(known)
            return said
        raise AssertionError("there is always a token")

    async def tell(self, pipeline: reconcile.PipelineRef, action: actions.ToPod) -> None:
        """A pod that can't be told now is told at the next look, if it is still there."""
        one = next((pod for pod in self._pods.get(pipeline, {}).values() if pod.name == action.pod), None)
        if one is None:
            return
        try:
            await self._call(pipeline, one, *_asked(action))
            await self._ask(pipeline, one)
        except grpc.aio.AioRpcError as error:
            _log.warning("pod_not_told", what=actions.described(action), code=error.code().name, message=error.details())
        except HungUpError:
            _log.debug("pod_gone", pod=one.name, what=actions.described(action))

    async def close(self) -> None:
        """Hang up on all."""
        for pipeline in list(self._pods):
            self.forget(pipeline)
        await asyncio.gather(*self._closing, return_exceptions=True)


def _asked(action: actions.ToPod) -> tuple[str, Any]:
    """The method of Control, and its request."""
    match action:
        case actions.Tell(sink=sink, lifecycle=lifecycle):
            return "SetLifecycle", control_pb2.SetLifecycleRequest(sink=sink, lifecycle=lifecycle)
        case actions.Follow(sink=sink, settings=settings, version=version, generation=generation):
            request = control_pb2.ApplyRequest(sink=sink, settings=settings, settings_version=version, generation=generation)
            return "Apply", request
        case actions.OpenCircuit(sink=sink, why=why):
            return "Apply", control_pb2.ApplyRequest(sink=sink, open_because=why)


def address_of(manifest: snapshot.Manifest) -> str:
    """Where a pod that runs is asked; empty while it has no address, and once it has ended."""
    told = manifest.get("status", {})
    ip = str(told.get("podIP", ""))
    if not ip or told.get("phase") != "Running":
        return ""
    return f"[{ip}]:{pods.CONTROL}" if ":" in ip else f"{ip}:{pods.CONTROL}"


def report(pod: str, role: str, address: str, said: control_pb2.StatusResponse) -> snapshot.PodReport:
    """A pod's answer in the operator's own words."""
    return snapshot.PodReport(
        pod=pod,
        role=role,
        address=address,
        lifecycle=said.lifecycle,
        message=said.message,
        log_id=said.log_id,
        log_bytes=said.log_bytes,
        accepted=said.ingest.accepted,
        trouble=_trouble(said),
        lanes=tuple(_lane(one) for one in said.lanes),
    )


def _lane(said: control_pb2.LaneStatus) -> snapshot.LaneReport:
    return snapshot.LaneReport(
        sink=said.sink,
        state=said.state,
        message=said.message,
        delivery_mode=said.delivery.mode,
        delivery_reason=said.delivery.reason,
        lag_events=said.lag.events,
        oldest_unread_seconds=said.lag.oldest_unread_seconds,
        retention_used=said.lag.retention_used,
        circuit=said.circuit,
        rows=said.batching.rows,
        linger_seconds=said.batching.linger_seconds,
        concurrency=said.batching.concurrency,
        latency_p99_seconds=said.batching.latency_p99_seconds,
        ledger=_ledger(said.ledger),
        outstanding=said.dead_letters.outstanding,
        replayed=said.dead_letters.replayed,
        expired=said.dead_letters.expired,
        by_category=dict(said.dead_letters.by_category),
        trouble=_trouble(said),
        settings_version=said.settings_version,
    )


def _trouble(said: control_pb2.StatusResponse | control_pb2.LaneStatus) -> snapshot.Trouble | None:
    if not said.HasField("trouble"):
        return None
    told = said.trouble
    return snapshot.Trouble(code=told.code, message=told.message[:1000], remedy=told.remedy[:1000])


def _ledger(said: control_pb2.Ledger) -> snapshot.Ledger:
    return snapshot.Ledger(
        read=said.events_read,
        duplicates=said.events_duplicate,
        events_dead_lettered=said.events_dead_lettered,
        transformed=said.events_transformed,
        events_in_flight=said.events_in_flight,
        lost=said.events_lost,
        made=said.rows_made,
        filtered=said.rows_filtered,
        other_lanes=said.rows_other_lanes,
        written=said.rows_written,
        rows_dead_lettered=said.rows_dead_lettered,
        rows_in_flight=said.rows_in_flight,
        unexplained=said.unexplained,
    )


def _urgent(said: snapshot.PodReport) -> tuple[Any, ...]:
    """What may change a condition."""
    lanes = tuple(
        (one.sink, one.state, one.circuit, bool(one.ledger.unexplained), _drained(one), _code(one), one.settings_version)
        for one in said.lanes
    )
    return (said.pod, said.lifecycle, said.message, bool(said.log_bytes), bool(said.log_id), _code(said), lanes)


def _code(said: snapshot.PodReport | snapshot.LaneReport) -> str:
    return said.trouble.code if said.trouble else ""


def _drained(said: snapshot.LaneReport) -> bool:
    return not (said.lag_events or said.ledger.events_in_flight or said.ledger.rows_in_flight)
