"""What the calls of `penstock.v1.Sink` do: receive, decode off the loop, hand to the writer, answer.

A request that can't be read ends with INVALID_ARGUMENT; everything else ends in a response, because a response can say
whose fault it is and a status can't.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Sequence
from concurrent import futures
from typing import Any, NoReturn

import grpc
import pyarrow as pa
import structlog

from penstock.core import delivery, results
from penstock.sinks import port, tables
from penstock.telemetry import metrics
from penstock.v1 import sink_pb2, sink_pb2_grpc
from penstock.wire import sink as wire

_log = structlog.get_logger()

# A response must fit gRPC's 4 MiB; rows that are left out here are found again when the rest is sent.
_REJECTED_ROWS = 2_000
_MESSAGE_CHARACTERS = 1_000


class SinkService(sink_pb2_grpc.SinkServicer):
    """The servicer; one per server, calls run concurrently on one event loop."""

    def __init__(self, writer: port.SinkWriter, *, sink_type: str, decoder: futures.Executor, max_write_bytes: int) -> None:
        self._writer = writer
        self._sink_type = sink_type
        self._decoder = decoder
        self._max_write_bytes = max_write_bytes

    async def Describe(  # noqa: N802 - the name in the proto
        self, request: sink_pb2.DescribeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> sink_pb2.DescribeResponse:
        """See sink.proto."""
        try:
            schema = _schema(request.arrow_schema)
            description = await self._writer.describe(request.lane, request.table, schema)
        except wire.MalformedMessageError as error:
            await _refuse(context, error)
        except Exception as error:  # the boundary: whatever a store's library raises
            failure = _failure(error, "sink_describe_failed", request.lane, request.table)
            return sink_pb2.DescribeResponse(failure=wire.failure_message(failure))
        return wire.description_message(description)

    async def WriteBatch(  # noqa: N802 - the name in the proto
        self, request_iterator: AsyncIterator[sink_pb2.WriteBatchRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> sink_pb2.WriteBatchResponse:
        """See sink.proto."""
        header = sink_pb2.WriteHeader()
        try:
            header, chunks = await self._received(request_iterator)
            decoded = asyncio.get_running_loop().run_in_executor(self._decoder, _batch, header, chunks)
            return wire.result_message(await self._written(await decoded))
        except wire.MalformedMessageError as error:
            await _refuse(context, error)
        except Exception as error:  # the boundary: whatever a store's library raises
            failure = _failure(error, "sink_write_failed", header.lane, header.table)
            return sink_pb2.WriteBatchResponse(failure=wire.failure_message(failure))

    async def _received(
        self, requests: AsyncIterator[sink_pb2.WriteBatchRequest]
    ) -> tuple[sink_pb2.WriteHeader, Sequence[bytes]]:
        """The header and the pieces of the Arrow stream. Raises MalformedMessageError, SinkError when there is too much."""
        header: sink_pb2.WriteHeader | None = None
        chunks: list[bytes] = []
        size = 0
        async for request in requests:
            if request.HasField("header") == (header is not None):
                raise wire.MalformedMessageError("the first message must be the header, and no other")
            if header is None:
                header = request.header
                continue
            chunk = request.chunk  # A copy each time it is looked at.
            chunks.append(chunk)
            size += len(chunk)
            if size > self._max_write_bytes:
                raise _too_large(self._max_write_bytes)
        if header is None:
            raise wire.MalformedMessageError("the call ended before its header")
        metrics.SINK_BYTES.labels(self._sink_type).inc(size)
        return header, chunks

    async def _written(self, batch: delivery.SinkBatch) -> delivery.WriteResult:
        started = time.perf_counter()
        outcome = "cancelled"
        try:
            result = _bounded(await self._writer.write(batch))
            outcome = self._count(batch, result)
        except Exception as error:
            failed = error.failure.result_class if isinstance(error, port.SinkError) else results.ResultClass.UNCLASSIFIED
            outcome = failed.value.lower()
            raise
        finally:
            metrics.SINK_WRITE_SECONDS.labels(self._sink_type, outcome).observe(time.perf_counter() - started)
        return result

    def _count(self, batch: delivery.SinkBatch, result: delivery.WriteResult) -> str:
        """Count the rows; how many rows stand in ranges that landed in part only is not known here."""
        if result.written:
            metrics.SINK_ROWS.labels(self._sink_type, "written").inc(result.written)
        if result.rejected:
            metrics.SINK_ROWS.labels(self._sink_type, "rejected").inc(len(result.rejected))
            return "rejected"
        if result.already_landed:
            if list(result.already_landed) == list(batch.ranges):
                metrics.SINK_ROWS.labels(self._sink_type, "already_landed").inc(batch.rows.num_rows)
            return "already_landed"
        return "written"


def _schema(message: bytes) -> pa.Schema:
    try:
        return pa.ipc.read_schema(pa.py_buffer(message))
    except (pa.ArrowException, OSError) as error:
        raise wire.MalformedMessageError(f"arrow_schema: {error}") from error


def _batch(header: sink_pb2.WriteHeader, chunks: Sequence[bytes]) -> delivery.SinkBatch:
    """The write as a value. Raises MalformedMessageError when the stream is damaged or not what the header says."""
    try:
        with pa.ipc.open_stream(pa.py_buffer(b"".join(chunks))) as reader:
            rows = reader.read_all()
        rows.validate()
    except (pa.ArrowException, OSError) as error:
        raise wire.MalformedMessageError(f"the Arrow stream can't be read: {error}") from error
    if rows.num_rows != header.rows:
        raise wire.MalformedMessageError(f"the header says {header.rows} rows, the stream has {rows.num_rows}")
    return wire.batch_value(header, rows)


def _bounded(result: delivery.WriteResult) -> delivery.WriteResult:
    rejected = [
        results.RejectedRow(row=row.row, result_class=row.result_class, code=row.code, message=row.message[:_MESSAGE_CHARACTERS])
        for row in result.rejected[:_REJECTED_ROWS]
    ]
    return dataclasses.replace(result, rejected=rejected)


def _failure(error: Exception, event: str, lane: str, table: str) -> results.Failure:
    """What to answer. Only what no rule foresaw is logged here: the batcher reports the rest with its context."""
    if isinstance(error, port.SinkError):
        return error.failure
    _log.error("sink_failed", during=event, lane=lane, table=table, exc_info=error)
    return results.Failure(
        result_class=results.ResultClass.UNCLASSIFIED,
        code=type(error).__name__,
        message=f"{type(error).__name__}: {error}"[:_MESSAGE_CHARACTERS],
    )


def _too_large(limit: int) -> port.SinkError:
    return tables.misconfigured(
        "WRITE_TOO_LARGE", f"a write of more than {limit} bytes", "lower batching.limits.bytes of this sink"
    )


async def _refuse(context: grpc.aio.ServicerContext[Any, Any], error: wire.MalformedMessageError) -> NoReturn:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    raise AssertionError("abort always raises")
