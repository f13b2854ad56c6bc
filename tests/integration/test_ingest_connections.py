"""How many clients the doors let in at once, and what the others are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pathlib

import grpc

from penstock.core import schema as schemas
from penstock.ingest import service
from penstock.log.embedded import front as embedded
from penstock.v1 import ingest_pb2, ingest_pb2_grpc


@contextlib.asynccontextmanager
async def _serving(path: pathlib.Path, **bounds: int):
    log = await embedded.EmbeddedLog.open(path / "log.db")
    started = service.IngestService(
        service.IngestSettings(
            namespace="web",
            pipeline="clicks",
            schema=schemas.Schema(fields=(schemas.Field(name="id", type=schemas.FieldType.STRING),)),
            grpc_address="127.0.0.1:0",
            http_address="127.0.0.1:0",
            **bounds,
        ),
        log,
    )
    try:
        await started.start()
        yield started
    finally:
        await started.close()
        await log.close()


async def test_one_http_connection_too_many_is_told_to_come_again_and_the_others_stay(tmp_path):
    """Catches connections without a bound, each with a buffer of its own, and one that is dropped without a word."""
    async with _serving(tmp_path, max_connections=1) as served:
        host, port = served.ports.http.split(":")
        first, first_in = await asyncio.open_connection(host, int(port))
        first_in.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await first.readline()).split()[1] == b"200"
        second, second_in = await asyncio.open_connection(host, int(port))
        head, _, body = (await second.read()).partition(b"\r\n\r\n")
        assert (head.split()[1], b"Retry-After: 5" in head, json.loads(body)["status"]) == (b"503", True, 503)
        for writer in (first_in, second_in):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def test_one_grpc_call_too_many_is_refused_and_the_stream_before_it_goes_on(tmp_path):
    """Catches calls without a bound, each with a message in memory."""
    async with _serving(tmp_path, max_calls=1) as served, grpc.aio.insecure_channel(served.ports.grpc) as channel:
        stub = ingest_pb2_grpc.IngestStub(channel)
        stream = stub.PublishStream()
        request = ingest_pb2.PublishRequest(sequence=1, ndjson=b'{"id":"a"}')
        await stream.write(request)
        assert (await stream.read()).accepted == 1
        try:
            await stub.Publish(request)
            refused = None
        except grpc.aio.AioRpcError as error:
            refused = error.code()
        assert refused is grpc.StatusCode.RESOURCE_EXHAUSTED
        await stream.write(request)
        assert (await stream.read()).accepted == 1
        await stream.done_writing()
