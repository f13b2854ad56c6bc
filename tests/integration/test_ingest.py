"""Both doors over the embedded log: what clients see, and what is in the log then."""

from __future__ import annotations

import asyncio
import gzip
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pyarrow as pa
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pyarrow import ipc

from penstock.core import blocks
from penstock.core import schema as schemas
from penstock.ingest import service
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.v1 import ingest_pb2, ingest_pb2_grpc

_SCHEMA = schemas.Schema(
    fields=(
        schemas.Field(name="id", type=schemas.FieldType.STRING, required=True),
        schemas.Field(name="n", type=schemas.FieldType.INT64),
    )
)
_NDJSON = "application/x-ndjson"
_JSON = "application/json"
_ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture
async def log(tmp_path: pathlib.Path) -> AsyncIterator[embedded.EmbeddedLog]:
    opened = await embedded.EmbeddedLog.open(tmp_path / "log.db", partitions=2)
    yield opened
    await opened.close()


def _settings(**rest: Any) -> service.IngestSettings:
    told: dict[str, Any] = {"grpc_address": "127.0.0.1:0", "http_address": "127.0.0.1:0", "max_event_bytes": 1_000}
    return service.IngestSettings(namespace="web", pipeline="clicks", schema=_SCHEMA, **(told | rest))


@pytest.fixture
async def ingest(log: embedded.EmbeddedLog) -> AsyncIterator[service.IngestService]:
    started = service.IngestService(_settings(), log)
    await started.start()
    yield started
    await started.close()


async def _ids(log: embedded.EmbeddedLog) -> list[str]:
    ids: list[str] = []
    for partition in range(log.partitions):
        records = await log.read(port.EVENTS, partition, 0, max_bytes=1 << 30)
        assert [record.sequence for record in records] == list(range(len(records)))
        for record in records:
            ids += blocks.decode(record.value, record.headers, columns=["id"]).column("id").to_pylist()
    return sorted(ids)


async def _post(ingest: service.IngestService, path: str, body: bytes, kind: str, **headers: str) -> tuple[int, Any, Any]:
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"http://{ingest.ports.http}{path}", data=body, headers={"Content-Type": kind} | headers) as response,
    ):
        return response.status, await response.json(content_type=None), response.headers


def _arrow(ids: list[str | None]) -> bytes:
    table = pa.table({"id": ids})
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("path", "kind", "body", "status", "accepted", "rejected"),
    [
        ("/v1/events", _JSON, b'{"id":"a"}', 202, ["a"], []),
        ("/v1/events", "application/x-www-form-urlencoded", b'{"id":"a"}', 202, ["a"], []),
        ("/v1/events", _JSON, b'{"id":1}', 400, [], [(0, "SchemaMismatch", "id")]),
        ("/v1/events", _JSON, b'{"id":"' + b"x" * 1_000 + b'"}', 413, [], [(0, "TooLarge", "")]),
        ("/v1/events/batch", _JSON, b'[{"id":"a"},{"id":tru},{"id":"c"}]', 202, ["a", "c"], [(1, "Malformed", "")]),
        ("/v1/events/batch", _JSON, b"[]", 202, [], []),
        ("/v1/events/batch", _NDJSON, b'{"id":"a"}\n\n{"n":1}\n', 202, ["a"], [(2, "SchemaMismatch", "id")]),
        ("/v1/events/batch", _NDJSON, b'{"id":"\xff"}\n{"id":"b"}', 202, ["b"], [(0, "Malformed", "")]),
        ("/v1/events/batch", _ARROW, _arrow(["a", None]), 202, ["a"], [(1, "SchemaMismatch", "id")]),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_http_takes_what_is_good_and_names_what_is_not(
    ingest: service.IngestService,
    log: embedded.EmbeddedLog,
    path: str,
    kind: str,
    body: bytes,
    status: int,
    accepted: list[str],
    rejected: list[tuple[int, str, str]],
) -> None:
    """Catches a 202 for nothing, a neighbour lost, and an answer that differs from what is in the log."""
    answered, outcome, _ = await _post(ingest, path, body, kind)
    assert (answered, outcome["accepted"]) == (status, len(accepted))
    assert [(why["index"], why["code"], why["field"]) for why in outcome["rejected"]] == rejected
    assert all(why["reason"] and why["remedy"] for why in outcome["rejected"])
    assert await _ids(log) == accepted


@pytest.mark.parametrize(
    ("path", "kind", "body", "status", "said"),
    [
        ("/v1/events", _JSON, b"", 400, "at least one event"),
        ("/v1/events/batch", "application/xml", b"<a/>", 415, "application/x-ndjson"),
        ("/v1/events/batch", _JSON, b'{"id":"a"}', 400, "not a JSON array"),
        ("/v1/events/batch", _ARROW, b"junk", 400, "Arrow IPC stream"),
        ("/v1/nope", _JSON, b"{}", 404, "Not Found"),
    ],
)
async def test_http_refuses_a_whole_request_as_a_problem(
    ingest: service.IngestService, log: embedded.EmbeddedLog, path: str, kind: str, body: bytes, status: int, said: str
) -> None:
    """Catches a refusal that a client can't read, and one that took something."""
    answered, problem, headers = await _post(ingest, path, body, kind)
    assert (answered, problem["status"], headers["Content-Type"]) == (status, status, "application/problem+json")
    assert said in problem["detail"]
    assert await _ids(log) == []


async def test_http_bounds_a_body_after_it_is_unpacked(log: embedded.EmbeddedLog) -> None:
    """Catches a small compressed body that grows without bound."""
    started = service.IngestService(_settings(max_request_bytes=50_000), log)
    await started.start()
    try:
        small = await _post(started, "/v1/events/batch", gzip.compress(b'{"id":"a"}'), _NDJSON, **{"Content-Encoding": "gzip"})
        bomb = await _post(started, "/v1/events/batch", gzip.compress(b" " * 10_000_000), _NDJSON, **{"Content-Encoding": "gzip"})
    finally:
        await started.close()
    assert (small[0], bomb[0]) == (202, 413)


async def test_both_doors_share_one_bound_and_say_when_to_come_back(log: embedded.EmbeddedLog) -> None:
    """Catches a bound per door, and a refusal without advice."""
    started = service.IngestService(_settings(max_in_flight_bytes=100), log)
    await started.start()
    body = b'{"id":"%s"}' % (b"x" * 200)
    try:
        status, problem, headers = await _post(started, "/v1/events", body, _JSON)
        async with grpc.aio.insecure_channel(started.ports.grpc) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ingest_pb2_grpc.IngestStub(channel).Publish(ingest_pb2.PublishRequest(ndjson=body))
    finally:
        await started.close()
    assert (status, headers["Retry-After"]) == (429, "1")
    assert "limit is 100" in problem["detail"]
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert started.stats().refused_requests == 2


async def test_a_stream_answers_every_request_once(ingest: service.IngestService, log: embedded.EmbeddedLog) -> None:
    """Catches a lost or doubled answer, and a refused request that ends the stream."""
    async with grpc.aio.insecure_channel(ingest.ports.grpc) as channel:
        call = ingest_pb2_grpc.IngestStub(channel).PublishStream()
        requests = [ingest_pb2.PublishRequest(sequence=n, ndjson=b'{"id":"%d"}\nnope' % n) for n in range(100)]
        requests.append(ingest_pb2.PublishRequest(sequence=100, arrow_stream=b"junk"))

        async def send() -> None:
            for request in requests:
                await call.write(request)
            await call.done_writing()

        sending = asyncio.create_task(send())
        responses = [response async for response in call]
        await sending
    answers = {response.sequence: response for response in responses}
    assert sorted(answers) == list(range(101))
    assert len(responses) == 101
    assert answers[100].refusal.reason == ingest_pb2.REFUSAL_REASON_UNREADABLE
    assert all(answers[n].accepted == 1 and answers[n].rejected[0].index == 1 for n in range(100))
    assert await _ids(log) == sorted(str(n) for n in range(100))


async def test_draining_ends_streams_and_refuses_the_rest(ingest: service.IngestService, log: embedded.EmbeddedLog) -> None:
    """Catches a drain that cuts off what was received, hangs on an open stream, or stays ready."""
    async with grpc.aio.insecure_channel(ingest.ports.grpc) as channel:
        stub = ingest_pb2_grpc.IngestStub(channel)
        call = stub.PublishStream()
        await call.write(ingest_pb2.PublishRequest(sequence=1, ndjson=b'{"id":"a"}'))
        assert (await call.read()).sequence == 1
        health = health_pb2_grpc.HealthStub(channel)
        before = await health.Check(health_pb2.HealthCheckRequest(service="penstock.v1.Ingest"))
        await ingest.drain()
        after = await health.Check(health_pb2.HealthCheckRequest(service="penstock.v1.Ingest"))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await call.read()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Publish(ingest_pb2.PublishRequest(ndjson=b'{"id":"b"}'))
    status, _, headers = await _post(ingest, "/v1/events", b'{"id":"c"}', _JSON)
    assert (before.status, after.status) == (health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING)
    assert ended.value.code() is refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (status, "Retry-After" in headers) == (503, True)
    assert await _ids(log) == ["a"]


async def test_a_taken_address_is_an_error_and_leaves_nothing_open(log: embedded.EmbeddedLog) -> None:
    """Catches two pipelines that share a port, each with half of the events."""
    first = service.IngestService(_settings(), log)
    await first.start()
    try:
        for taken in ({"grpc_address": first.ports.grpc}, {"http_address": first.ports.http}):
            second = service.IngestService(_settings(**taken), log)
            with pytest.raises(OSError, match=r"can.t listen at 127\.0\.0\.1"):
                await second.start()
            await second.close()
    finally:
        await first.close()
