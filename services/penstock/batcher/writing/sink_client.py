"""The batcher's end of `penstock.v1.Sink`: one lane's way to its store.

Rows leave as one Arrow IPC stream in chunks; what comes back is a `WriteResult` or a `WriteFailedError` that says whose
fault it is. A call without an answer is an outage: it may have landed, and the same ranges are sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent import futures
from typing import Literal

import grpc
import pyarrow as pa

from penstock.core import delivery, results
from penstock.v1 import sink_pb2, sink_pb2_grpc
from penstock.wire import sink as wire

Compression = Literal["lz4", "zstd"]

CHUNK_BYTES = 1024 * 1024
"""The contract allows 4 MiB; 1 MiB costs least: 0.18 µs per row of 90 bytes over a socket, 4 MiB 0.3."""

_RESPONSE_BYTES = 16 * 1024 * 1024

_OPTIONS = (
    ("grpc.max_receive_message_length", _RESPONSE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The default back-off grows to two minutes: a store that is back would go unnoticed for as long.
    ("grpc.max_reconnect_backoff_ms", 5_000),
)

_CLASSES = {
    grpc.StatusCode.UNAVAILABLE: results.ResultClass.OUTAGE,
    grpc.StatusCode.DEADLINE_EXCEEDED: results.ResultClass.OUTAGE,
    grpc.StatusCode.CANCELLED: results.ResultClass.OUTAGE,
    # A credential that has expired says nothing about the rows; as unclassified they could end as dead letters.
    grpc.StatusCode.UNAUTHENTICATED: results.ResultClass.OUTAGE,
    grpc.StatusCode.RESOURCE_EXHAUSTED: results.ResultClass.PRESSURE,
    grpc.StatusCode.PERMISSION_DENIED: results.ResultClass.CONFIG,
    grpc.StatusCode.INVALID_ARGUMENT: results.ResultClass.CONFIG,
    grpc.StatusCode.UNIMPLEMENTED: results.ResultClass.CONFIG,
}


class SinkClient:
    """A channel to one sink server. `compression` is Arrow's ("lz4", "zstd") and pays off over a real network only.

    `address` is gRPC's: "unix:/path/sink.sock" or "host:port". Calls may run concurrently; none after `close`.
    """

    def __init__(self, address: str, *, compression: Compression | None = None) -> None:
        self._address = address
        self._compression = compression
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub: sink_pb2_grpc.SinkAsyncStub = sink_pb2_grpc.SinkStub(self._channel)
        self._encoder = futures.ThreadPoolExecutor(1, thread_name_prefix="sink-encode")

    async def describe(self, lane: str, table: str, schema: pa.Schema, *, deadline_seconds: float = 30.0) -> delivery.Description:
        """What holds on this table. Raises WriteFailedError: config (the table can't be written as it is) or outage."""
        request = sink_pb2.DescribeRequest(lane=lane, table=table, arrow_schema=schema.serialize().to_pybytes())
        try:
            response = await self._stub.Describe(request, timeout=deadline_seconds)
            if response.HasField("failure"):
                raise delivery.WriteFailedError(wire.failure_value(response.failure))
            return wire.description_value(response)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        except wire.MalformedMessageError as error:
            raise self._unreadable(error) from error

    async def write(self, batch: delivery.SinkBatch, *, deadline_seconds: float) -> delivery.WriteResult:
        """Return when the sink says that the rows are durable. Raises WriteFailedError."""
        loop = asyncio.get_running_loop()
        stream = await loop.run_in_executor(self._encoder, encode, batch.rows, self._compression)
        try:
            response = await self._stub.WriteBatch(_requests(batch, stream), timeout=deadline_seconds)
            if response.HasField("failure"):
                raise delivery.WriteFailedError(wire.failure_value(response.failure))
            result = wire.result_value(response)
            wire.check_result(result, batch.rows.num_rows)
            return result
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from error
        except wire.MalformedMessageError as error:
            raise self._unreadable(error) from error

    async def close(self) -> None:
        await self._channel.close()
        self._encoder.shutdown(wait=True)

    def _failed(self, error: grpc.aio.AioRpcError) -> delivery.WriteFailedError:
        status = error.code()
        failure = results.Failure(
            result_class=_CLASSES.get(status, results.ResultClass.UNCLASSIFIED),
            code=status.name,
            message=f"the sink at {self._address} answered {status.name}: {error.details()}",
        )
        return delivery.WriteFailedError(failure, timed_out=status is grpc.StatusCode.DEADLINE_EXCEEDED)

    def _unreadable(self, error: wire.MalformedMessageError) -> delivery.WriteFailedError:
        return delivery.WriteFailedError(
            results.Failure(
                result_class=results.ResultClass.CONFIG,
                code="UNREADABLE_ANSWER",
                message=f"the sink at {self._address} answered what can't be read: {error}",
                remedy="run a sink of the same version as the batcher, or one that keeps to penstock.v1",
            )
        )


def encode(rows: pa.Table, compression: Compression | None = None) -> pa.Buffer:
    """The rows as one Arrow IPC stream of one record batch: many small ones would cost their framing each."""
    out = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(out, rows.schema, options=options) as writer:
        writer.write_table(rows.combine_chunks())
    return out.getvalue()


async def _requests(batch: delivery.SinkBatch, stream: pa.Buffer) -> AsyncIterator[sink_pb2.WriteBatchRequest]:
    yield sink_pb2.WriteBatchRequest(header=wire.header_message(batch))
    view = memoryview(stream)
    for start in range(0, len(view), CHUNK_BYTES):
        # Protobuf takes bytes only: this is the one copy on the way out.
        yield sink_pb2.WriteBatchRequest(chunk=bytes(view[start : start + CHUNK_BYTES]))
