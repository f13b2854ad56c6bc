"""One endpoint of `penstock.v1.Sink`: rows leave as one Arrow IPC stream in chunks, what comes back has a class.

What comes back is a `WriteResult` or a `WriteFailedError` that says whose fault it is. A call without an answer is an outage:
once all of it has left it may have landed, and the same ranges are sent again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Literal

import grpc
import pyarrow as pa

from penstock.core import delivery, results
from penstock.v1 import sink_pb2, sink_pb2_grpc
from penstock.wire import sink as wire

Compression = Literal["lz4", "zstd"]
Options = Sequence[tuple[str, str | int]]
Dial = Callable[[str, Options], grpc.aio.Channel]
"""Makes the channel to an address."""

CHUNK_BYTES = 1024 * 1024
"""The contract allows 4 MiB; 1 MiB costs least: 0.18 µs per row of 90 bytes over a socket, 4 MiB 0.3."""

_RESPONSE_BYTES = 16 * 1024 * 1024

_OPTIONS: Options = (
    ("grpc.max_receive_message_length", _RESPONSE_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # The default back-off grows to two minutes: a sink that is back would go unnoticed for as long.
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 2_000),
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
# Sent by a server that has not begun to write.
_REFUSALS = frozenset(_CLASSES) - {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}


def dial(address: str, options: Options) -> grpc.aio.Channel:
    """A channel in plain text: "unix:/path/sink.sock" or "host:port"."""
    return grpc.aio.insecure_channel(address, options=options)


class SinkChannel:
    """A channel to one sink server. `name` is what the server is known by where `address` is one of the addresses of a name.

    Calls may run concurrently; none after `close`.
    """

    def __init__(self, address: str, *, dial: Dial = dial, name: str = "") -> None:
        self._address = address
        known = (("grpc.default_authority", name), ("grpc.ssl_target_name_override", name.rpartition(":")[0])) if name else ()
        self._channel = dial(address, (*_OPTIONS, *known))
        self._stub: sink_pb2_grpc.SinkAsyncStub = sink_pb2_grpc.SinkStub(self._channel)
        self._failing = self._gone = False

    def has_returned(self) -> bool:
        """Whether the server, which a call has found gone, is there again; a yes is said once. Nothing is sent to it.

        To be asked again and again: a connection that stands all the while is no return, but somebody's in between.
        """
        if not self._failing:
            return False
        connected = self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY
        returned = connected and self._gone
        self._gone, self._failing = not connected, not returned
        return returned

    async def describe(self, lane: str, table: str, schema: pa.Schema, *, deadline_seconds: float) -> delivery.Description:
        """What holds on this table. Raises WriteFailedError: config (the table can't be written as it is) or outage."""
        request = sink_pb2.DescribeRequest(lane=lane, table=table, arrow_schema=schema.serialize().to_pybytes())
        try:
            response = await self._stub.Describe(request, timeout=deadline_seconds)
            if response.HasField("failure"):
                raise delivery.WriteFailedError(wire.failure_value(response.failure))
            return wire.description_value(response)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error, sent=False) from error
        except wire.MalformedMessageError as error:
            raise self._unreadable(error) from error

    async def write(self, batch: delivery.SinkBatch, stream: pa.Buffer, *, deadline_seconds: float) -> delivery.WriteResult:
        """Return when the sink says that the rows, which `stream` holds, are durable. Raises WriteFailedError."""
        leaving = _Leaving(batch, stream)
        try:
            response = await self._stub.WriteBatch(leaving.requests(), timeout=deadline_seconds)
            self._failing = self._gone = False
            if response.HasField("failure"):
                raise delivery.WriteFailedError(wire.failure_value(response.failure))
            result = wire.result_value(response)
            wire.check_result(result, batch.rows.num_rows)
            return result
        except grpc.aio.AioRpcError as error:
            raise self._failed(error, sent=leaving.sent) from error
        except wire.MalformedMessageError as error:
            raise self._unreadable(error) from error

    async def close(self) -> None:
        await self._channel.close()

    def _failed(self, error: grpc.aio.AioRpcError, *, sent: bool) -> delivery.WriteFailedError:
        status = error.code()
        if status is grpc.StatusCode.UNAVAILABLE:
            self._failing = True
            # The state may be older than the failure: then it is `has_returned` that sees the connection gone.
            self._gone = self._gone or self._channel.get_state() is not grpc.ChannelConnectivity.READY
        failure = results.Failure(
            result_class=_CLASSES.get(status, results.ResultClass.UNCLASSIFIED),
            code=status.name,
            message=f"the sink at {self._address} answered {status.name}: {error.details()}",
        )
        timed_out = status is grpc.StatusCode.DEADLINE_EXCEEDED
        return delivery.WriteFailedError(failure, timed_out=timed_out, may_land=sent and status not in _REFUSALS)

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


class _Leaving:
    """A write on its way out. A server writes nothing before it has all of it: until it is `sent` nothing can have landed."""

    def __init__(self, batch: delivery.SinkBatch, stream: pa.Buffer) -> None:
        self._batch, self._stream = batch, stream
        self.sent = False

    async def requests(self) -> AsyncIterator[sink_pb2.WriteBatchRequest]:
        yield sink_pb2.WriteBatchRequest(header=wire.header_message(self._batch))
        view = memoryview(self._stream)
        for start in range(0, len(view), CHUNK_BYTES):
            # Protobuf takes bytes only: this is the one copy on the way out.
            yield sink_pb2.WriteBatchRequest(chunk=bytes(view[start : start + CHUNK_BYTES]))
        self.sent = True
