"""The control socket: `penstock.v1.Control` for one process of a pipeline."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any, Protocol

import grpc
import pyarrow as pa
from pyarrow import ipc

from penstock.core import breaker, errors
from penstock.core.batching import model
from penstock.log import port
from penstock.machine import retired, skipping, strays
from penstock.machine.parts import settled
from penstock.replay import job
from penstock.v1 import control_pb2, control_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]

_CHUNK_BYTES = 1024 * 1024


class NotHereError(KeyError):
    """What is asked for runs in another process of the pipeline; the message says where to ask."""


class QueryRefusedError(Exception):
    """The store will not answer this query; the message is the store's."""


class Machine(Protocol):
    """What the control socket asks of the running pipeline."""

    async def status(self) -> control_pb2.StatusResponse: ...

    def apply(self, sink: str, write_model: model.WriteModel | None, circuit: breaker.Mode | None) -> None:
        """None: as it is. Raises KeyError for a sink that is not there."""

    def follow(self, sink: str, told: settled.Told) -> None:
        """Raises KeyError for a sink that is not there, ValueError for settings that can't be used."""

    def open_circuit(self, sink: str, why: str) -> None:
        """Raises KeyError for a sink that is not there."""

    async def set_lifecycle(self, sink: str, lifecycle: str) -> str:
        """Raises KeyError for a sink that is not there, ValueError for an unknown lifecycle."""

    async def query(self, sink: str, sql: str) -> pa.Table:
        """Raises KeyError for a sink that is not there, QueryRefusedError."""

    def replay(self, request: control_pb2.ReplayRequest) -> AsyncIterator[control_pb2.ReplayProgress]:
        """Raises BusyError, StraysError, LogError."""

    async def skip(self, request: control_pb2.SkipRequest) -> control_pb2.SkipResponse:
        """Raises KeyError for a sink that is not there, SkipRefusedError, LogError."""

    async def drop_lane(self, request: control_pb2.DropLaneRequest) -> control_pb2.DropLaneResponse:
        """Raises DropRefusedError, LogError."""

    async def discard(self, request: control_pb2.DiscardRequest) -> control_pb2.DiscardResponse:
        """Raises BusyError, StraysError, LogError."""


class ControlServicer(control_pb2_grpc.ControlServicer):
    """Answers for one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def Status(  # noqa: N802 - the name in the protocol
        self, request: control_pb2.StatusRequest, context: Context
    ) -> control_pb2.StatusResponse:
        return await self._machine.status()

    async def Apply(  # noqa: N802
        self, request: control_pb2.ApplyRequest, context: Context
    ) -> control_pb2.ApplyResponse:
        try:
            told = _write_model(request.model) if request.HasField("model") else None
            if request.settings_version:
                self._machine.follow(request.sink, _settings(request))
            if told is not None or request.circuit:
                self._machine.apply(request.sink, told, breaker.Mode(request.circuit) if request.circuit else None)
            if request.open_because:
                self._machine.open_circuit(request.sink, request.open_because)
        except KeyError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error.args[0]))
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return control_pb2.ApplyResponse()

    async def SetLifecycle(  # noqa: N802
        self, request: control_pb2.SetLifecycleRequest, context: Context
    ) -> control_pb2.SetLifecycleResponse:
        try:
            reached = await self._machine.set_lifecycle(request.sink, request.lifecycle)
        except KeyError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error.args[0]))
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return control_pb2.SetLifecycleResponse(lifecycle=reached)

    async def Query(  # noqa: N802
        self, request: control_pb2.QueryRequest, context: Context
    ) -> AsyncIterator[control_pb2.QueryResponse]:
        try:
            answer = await self._machine.query(request.sink, request.sql)
        except KeyError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error.args[0]))
        except QueryRefusedError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        for chunk in _chunks(answer):
            yield control_pb2.QueryResponse(chunk=chunk)

    async def Replay(  # noqa: N802
        self, request: control_pb2.ReplayRequest, context: Context
    ) -> AsyncIterator[control_pb2.ReplayProgress]:
        try:
            async for progress in self._machine.replay(request):
                yield progress
        except NotHereError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error.args[0]))
        except (job.BusyError, strays.StraysError, errors.InvalidPipelineError, port.LogError) as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))

    async def Discard(  # noqa: N802
        self, request: control_pb2.DiscardRequest, context: Context
    ) -> control_pb2.DiscardResponse:
        try:
            return await self._machine.discard(request)
        except NotHereError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error.args[0]))
        except (job.BusyError, strays.StraysError, errors.InvalidPipelineError, port.LogError) as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))

    async def Skip(  # noqa: N802
        self, request: control_pb2.SkipRequest, context: Context
    ) -> control_pb2.SkipResponse:
        try:
            return await self._machine.skip(request)
        except KeyError as error:
            await context.abort(grpc.StatusCode.NOT_FOUND, str(error.args[0]))
        except (skipping.SkipRefusedError, port.LogError) as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))

    async def SteerReplay(  # noqa: N802
        self, request: control_pb2.SteerReplayRequest, context: Context
    ) -> control_pb2.SteerReplayResponse:
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "this process is no replay; the caller of one gives its rate")

    async def DropLane(  # noqa: N802
        self, request: control_pb2.DropLaneRequest, context: Context
    ) -> control_pb2.DropLaneResponse:
        try:
            return await self._machine.drop_lane(request)
        except (retired.DropRefusedError, port.LogError) as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))


def _settings(message: control_pb2.ApplyRequest) -> settled.Told:
    return settled.Told(settings=message.settings, version=message.settings_version, generation=message.generation)


def _write_model(message: control_pb2.WriteModel) -> model.WriteModel:
    return model.WriteModel(**{field.name: getattr(message, field.name) for field in message.DESCRIPTOR.fields})


def _chunks(table: pa.Table) -> list[bytes]:
    buffer = io.BytesIO()
    with ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    stream = buffer.getvalue()
    return [stream[start : start + _CHUNK_BYTES] for start in range(0, len(stream), _CHUNK_BYTES)]
