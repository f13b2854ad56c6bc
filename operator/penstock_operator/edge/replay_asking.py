"""A replay's pod asked how far it is, and told how fast it may go. There are few of them, so each look asks for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import grpc
import structlog

from penstock.core import runs
from penstock.v1 import control_pb2, control_pb2_grpc
from penstock_operator import reconcile, snapshot
from penstock_operator.edge import asking, tokens
from penstock_operator.replaying import actions, situation

_TIMEOUT_SECONDS: Final = 3.0

_log = structlog.get_logger()


class ReplayAsker:
    """Of all replays."""

    def __init__(self, known: tokens.Tokens) -> None:
        self._tokens = known

    async def said(self, pipeline: reconcile.PipelineRef, pods: Sequence[snapshot.Manifest]) -> tuple[situation.Said, ...]:
        """What the pods that run say now; one that does not answer is left out."""
        running = [one for one in pods if asking.address_of(one)]
        found = await asyncio.gather(*(self._ask(pipeline, one) for one in running))
        return tuple(one for one in found if one)

    async def _ask(self, pipeline: reconcile.PipelineRef, pod: snapshot.Manifest) -> situation.Said | None:
        name, address = str(pod["metadata"]["name"]), asking.address_of(pod)
        try:
            answer = await self._call(pipeline, address, "Status", control_pb2.StatusRequest())
            return situation.Said(pod=name, address=address, report=runs.decode(answer.replay))
        except (grpc.aio.AioRpcError, runs.ReportError) as error:
            _log.debug("replay_silent", pod=name, error=str(error)[:200])
            return None

    async def steer(self, pipeline: reconcile.PipelineRef, action: actions.Steer) -> None:
        """One that can't be told now is told at the next look, if it is still there."""
        request = control_pb2.SteerReplayRequest(events_per_second=action.events_per_second)
        try:
            await self._call(pipeline, action.address, "SteerReplay", request)
        except grpc.aio.AioRpcError as error:
            _log.warning("replay_not_told", pod=action.pod, code=error.code().name)

    async def _call(self, pipeline: reconcile.PipelineRef, address: str, method: str, request: Any) -> Any:
        """With the first token that it takes. Raises AioRpcError."""
        known = self._tokens.all(pipeline)
        async with grpc.aio.insecure_channel(address, options=asking.OPTIONS) as channel:
            stub = control_pb2_grpc.ControlStub(channel)
            for number, token in enumerate(known):
                metadata = (("authorization", f"Bearer {token}"),)
                try:
                    return await getattr(stub, method)(request, timeout=_TIMEOUT_SECONDS, metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    if error.code() is not grpc.StatusCode.UNAUTHENTICATED or number == len(known) - 1:
                        raise
        raise AssertionError("there is always a token")
