"""`penstock.v1.Control` of a process that is a replay and nothing else: how far it is, and how fast it may go."""

from __future__ import annotations

from typing import Any, Final

import grpc

from penstock.api.model import pipeline as api_pipeline
from penstock.core import runs
from penstock.machine import replay_runs
from penstock.v1 import control_pb2, control_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

_MOST_PER_SECOND: Final = 1_000_000


class ReplayServicer(control_pb2_grpc.ControlServicer):
    """Answers for one run; everything else is unimplemented."""

    def __init__(self, run: replay_runs.ReplayRun, pipeline: api_pipeline.BatchPipeline) -> None:
        self._run, self._pipeline = run, pipeline.metadata

    async def Status(  # noqa: N802 - the name in the protocol
        self, request: control_pb2.StatusRequest, context: Context
    ) -> control_pb2.StatusResponse:
        report = self._run.report
        return control_pb2.StatusResponse(
            namespace=self._pipeline.namespace,
            pipeline=self._pipeline.name,
            lifecycle="Replaying",
            message=report.message if report.phase is runs.Phase.WAITING else "",
            replay=runs.encode(report).decode(),
        )

    async def SteerReplay(  # noqa: N802
        self, request: control_pb2.SteerReplayRequest, context: Context
    ) -> control_pb2.SteerReplayResponse:
        asked = request.events_per_second
        if not 1 <= asked <= _MOST_PER_SECOND:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{asked} letters a second: give 1 to {_MOST_PER_SECOND}")
        self._run.pace.events_per_second = asked
        return control_pb2.SteerReplayResponse(events_per_second=asked)
