"""One endpoint's channel, as far as it needs no wire."""

import grpc
import pyarrow as pa
import pytest

from penstock.batcher.writing import sink_channel
from penstock.core import delivery, results
from penstock.v1 import sink_pb2

ROWS = pa.table({"a": pa.chunked_array([[1, 2], [], [3]], pa.int64()), "b": ["x", None, "z"]})


async def requests(rows, stream):
    batch = delivery.SinkBatch(lane="l", table="t", ranges=(), token="", finished_below=(), key_columns=(), rows=rows)
    return [request async for request in sink_channel._Leaving(batch, stream).requests()]


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_rows_are_one_record_batch(compression):
    """Catches a stream of many small batches, each with its framing."""
    reader = pa.ipc.open_stream(sink_channel.encode(ROWS, compression))
    batches = list(reader)
    assert len(batches) == 1
    assert pa.Table.from_batches(batches).equals(ROWS)


async def test_the_stream_is_cut_and_nothing_is_lost(monkeypatch):
    """Catches a piece that is left out or sent twice, and a piece over the contract's limit."""
    monkeypatch.setattr(sink_channel, "CHUNK_BYTES", 100)
    stream = sink_channel.encode(ROWS)
    header, *chunks = await requests(ROWS, stream)
    assert header.header.rows == 3
    assert b"".join(chunk.chunk for chunk in chunks) == stream.to_pybytes()
    assert max(len(chunk.chunk) for chunk in chunks) == 100


def test_a_chunk_with_its_framing_fits_the_smallest_limit():
    """Catches chunks that a sink with gRPC's default limit refuses."""
    request = sink_pb2.WriteBatchRequest(chunk=bytes(sink_channel.CHUNK_BYTES))
    assert request.ByteSize() <= 4 * 1024 * 1024


@pytest.mark.parametrize(
    ("status", "result_class", "timed_out"),
    [
        (grpc.StatusCode.UNAVAILABLE, results.ResultClass.OUTAGE, False),
        (grpc.StatusCode.DEADLINE_EXCEEDED, results.ResultClass.OUTAGE, True),
        (grpc.StatusCode.CANCELLED, results.ResultClass.OUTAGE, False),
        (grpc.StatusCode.UNAUTHENTICATED, results.ResultClass.OUTAGE, False),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, results.ResultClass.PRESSURE, False),
        (grpc.StatusCode.PERMISSION_DENIED, results.ResultClass.CONFIG, False),
        (grpc.StatusCode.INVALID_ARGUMENT, results.ResultClass.CONFIG, False),
        (grpc.StatusCode.UNIMPLEMENTED, results.ResultClass.CONFIG, False),
        (grpc.StatusCode.INTERNAL, results.ResultClass.UNCLASSIFIED, False),
        (grpc.StatusCode.UNKNOWN, results.ResultClass.UNCLASSIFIED, False),
    ],
    ids=str,
)
async def test_a_call_without_an_answer_has_a_class(status, result_class, timed_out):
    """Catches a store that is away taken for a fault of the rows: they would end as dead letters."""
    client = sink_channel.SinkChannel("unix:/nowhere.sock")
    error = grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata(), details="why")
    failed = client._failed(error, sent=True)
    assert (failed.failure.result_class, failed.timed_out) == (result_class, timed_out)
    assert failed.failure.code == status.name
    assert "why" in failed.failure.message
    await client.close()


async def test_a_server_that_was_gone_is_found_again_once(monkeypatch):
    """Catches a connection that is back and unnoticed, one that is announced for ever, and one that never broke announced at
    all: behind a proxy the circuit would never rest."""
    channel = sink_channel.SinkChannel("unix:/nowhere.sock")
    state = grpc.ChannelConnectivity.READY
    monkeypatch.setattr(channel, "_channel", _Connection(lambda: state))
    unavailable = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details="why")
    channel._failed(unavailable, sent=True)
    assert [channel.has_returned(), channel.has_returned()] == [False, False]
    state = grpc.ChannelConnectivity.IDLE
    assert not channel.has_returned()
    state = grpc.ChannelConnectivity.READY
    assert [channel.has_returned(), channel.has_returned()] == [True, False]
    state = grpc.ChannelConnectivity.TRANSIENT_FAILURE
    channel._failed(unavailable, sent=True)
    state = grpc.ChannelConnectivity.READY
    assert [channel.has_returned(), channel.has_returned()] == [True, False]


class _Connection:
    def __init__(self, state):
        self._state = state

    def get_state(self, try_to_connect=False):
        return self._state()
