"""Requests made to hurt: the process stays up, memory bounded, the answer exact and the neighbours served."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import pathlib
import resource
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pyarrow as pa
import pytest

from penstock.core import blocks
from penstock.core import schema as schemas
from penstock.ingest import service
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.v1 import ingest_pb2, ingest_pb2_grpc

_MIB = 1024 * 1024
_SCHEMA = schemas.Schema(
    fields=(
        schemas.Field(name="id", type=schemas.FieldType.STRING, required=True),
        schemas.Field(name="d", type=schemas.FieldType.FLOAT64),
        schemas.Field(name="j", type=schemas.FieldType.JSON),
        schemas.Field(name="l", type=schemas.FieldType.LIST, element=schemas.Field(name="item", type=schemas.FieldType.INT64)),
    )
)
_NDJSON = "application/x-ndjson"
_JSON = "application/json"


@pytest.fixture
async def log(tmp_path: pathlib.Path) -> AsyncIterator[embedded.EmbeddedLog]:
    opened = await embedded.EmbeddedLog.open(tmp_path / "log.db", partitions=1)
    yield opened
    await opened.close()


@pytest.fixture
async def ingest(log: embedded.EmbeddedLog, request: pytest.FixtureRequest) -> AsyncIterator[service.IngestService]:
    told = getattr(request, "param", {})
    addresses = {"grpc_address": "127.0.0.1:0", "http_address": "127.0.0.1:0"}
    settings = service.IngestSettings(
        namespace="web", pipeline="clicks", schema=_SCHEMA, **({"max_event_bytes": 4 * _MIB} | addresses | told)
    )
    started = service.IngestService(settings, log)
    await started.start()
    yield started
    await started.close()


async def _ids(log: embedded.EmbeddedLog) -> list[str]:
    records = await log.read(port.EVENTS, 0, 0, max_bytes=1 << 30)
    columns = [blocks.decode(record.value, record.headers, columns=["id"]) for record in records]
    return [value for batch in columns for value in batch.column("id").to_pylist()]


async def _post(ingest: service.IngestService, body: bytes, kind: str, path: str = "", **headers: str) -> tuple[int, Any]:
    told = {"Content-Type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"http://{ingest.ports.http}/v1/events{path}", data=io.BytesIO(body), headers=told) as response,
    ):
        return response.status, await response.json(content_type=None)


def _nest(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


_CORPUS: dict[str, tuple[bytes, str | None]] = {
    "string of 10 MiB": (b'{"id":"' + b"x" * 10 * _MIB + b'"}', "TooLarge"),
    "string of 3 MiB": (b'{"id":"hostile","j":"' + b"x" * 3 * _MIB + b'"}', None),
    "depth 5,000 where nobody looks": (b'{"id":"hostile","zz":' + _nest(5_000) + b"}", "Malformed"),
    "depth 5,000 in a JSON field": (b'{"id":"hostile","j":' + _nest(5_000) + b"}", "Malformed"),
    "depth 5,000, not closed": (b'{"id":"hostile","zz":' + b"[" * 5_000 + b"}", "Malformed"),
    "a list of 1,000,000 items": (b'{"id":"hostile","l":[' + b"1," * 999_999 + b"1]}", None),
    "a list of 1,000,000 wrong items": (b'{"id":"hostile","l":[' + b"t," * 999_999 + b"1]}", "Malformed"),
    "NaN": (b'{"id":"hostile","d":NaN}', "Malformed"),
    "1e400": (b'{"id":"hostile","d":1e400}', "SchemaMismatch"),
    "half a surrogate pair": (b'{"id":"hostile","j":"\\ud800"}', "Malformed"),
    "one key twice": (b'{"id":"hostile","id":"other"}', "SchemaMismatch"),
    "a byte order mark": (b'\xef\xbb\xbf{"id":"hostile"}', "Malformed"),
    "100,000 keys": (b'{"id":"hostile",' + b",".join(b'"k%d":1' % n for n in range(100_000)) + b"}", None),
    "two objects": (b'{"id":"hostile"}{"id":"other"}', "Malformed"),
    "a NUL": (b'{"id":"hostile"}\0', "Malformed"),
    "a number of 100,000 digits": (b'{"id":"hostile","d":' + b"9" * 100_000 + b"}", "SchemaMismatch"),
}


@pytest.mark.parametrize("name", _CORPUS)
async def test_a_hostile_event_has_its_exact_answer_and_harms_no_neighbour(
    ingest: service.IngestService, log: embedded.EmbeddedLog, name: str
) -> None:
    """Catches a neighbour lost, a verdict that differs between the doors, and a value that is not the sender's."""
    event, code = _CORPUS[name]
    body = b"\n".join([b'{"id":"before"}', event, b'{"id":"after"}'])
    status, answer = await _post(ingest, body, _NDJSON, "/batch")
    assert status == 202
    assert [(why["index"], why["code"]) for why in answer["rejected"]] == ([(1, code)] if code else [])
    assert all(len(why["reason"]) < 300 for why in answer["rejected"])
    async with grpc.aio.insecure_channel(ingest.ports.grpc) as channel:
        request = ingest_pb2.PublishRequest(documents=ingest_pb2.Documents(json=body.split(b"\n")))
        response = await ingest_pb2_grpc.IngestStub(channel).Publish(request)
    assert (response.accepted, [why.index for why in response.rejected]) == (2 if code else 3, [1] if code else [])
    assert await _ids(log) == (["before", "after"] if code else ["before", "hostile", "after"]) * 2


async def test_a_flood_of_bad_events_ends_early_and_says_where(ingest: service.IngestService, log: embedded.EmbeddedLog) -> None:
    """Catches a request that keeps the parser, and an answer, busy for as long as its sender likes."""
    lines = [b'{"id":%d}' % number for number in range(300_000)]
    lines[5] = lines[200_000] = b'{"id":"good"}'
    status, answer = await _post(ingest, b"\n".join(lines), _NDJSON, "/batch")
    last = answer["rejected"][-1]
    assert (status, answer["accepted"], last["index"]) == (202, 1, 20_000)
    assert "all after it were not read" in last["reason"]
    assert len(answer["rejected"]) == 20_000
    assert await _ids(log) == ["good"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"{}\n" * 1_500_000, _NDJSON), (b"[" + b"{}," * 1_500_000 + b"{}]", _JSON), (b"[" + b"0," * 8_000_000 + b"0]", _JSON)],
    ids=["lines", "array of objects", "array of numbers"],
)
async def test_more_events_than_fit_in_memory_are_refused_before_they_are_framed(
    ingest: service.IngestService, log: embedded.EmbeddedLog, body: bytes, kind: str
) -> None:
    """Catches a few megabytes of tiny events that take gigabytes once each is an object."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, problem = await _post(ingest, body, kind, "/batch")
    assert (status, "more than 1,000,000 events" in problem["detail"]) == (400, True)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
    assert (await _post(ingest, b'{"id":"a"}', _JSON))[0] == 202


@pytest.mark.parametrize("ingest", [{"max_request_bytes": 2 * _MIB}], indirect=True)
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_a_bomb_is_stopped_while_it_grows(ingest: service.IngestService, log: embedded.EmbeddedLog, encoding: str) -> None:
    """Catches a body unpacked as a whole before its size is looked at, and encodings that are advertised only."""
    pack = {"gzip": gzip.compress, "zstd": lambda data: bytes(pa.compress(data, codec="zstd", asbytes=True))}[encoding]
    bomb = pack(bytes(256 * _MIB))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, problem = await _post(ingest, bomb, _NDJSON, "/batch", Content_Encoding=encoding)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert (status, "unpacked body is larger than" in problem["detail"]) == (413, True)
    assert (await _post(ingest, pack(b'{"id":"a"}'), _NDJSON, "/batch", Content_Encoding=encoding))[0] == 202
    assert (await _post(ingest, b"junk", _NDJSON, "/batch", Content_Encoding=encoding))[0] == 400
    assert (await _post(ingest, b"junk", _NDJSON, "/batch", Content_Encoding="lzma"))[0] == 415
    assert await _ids(log) == ["a"]
    assert ingest.stats().bytes_in_flight == 0


@pytest.mark.parametrize("ingest", [{"body_idle_seconds": 0.2, "body_seconds": 1.0, "max_in_flight_bytes": 2_000}], indirect=True)
@pytest.mark.parametrize("dribble", [False, True], ids=["silent", "a byte at a time"])
async def test_a_body_that_never_ends_holds_no_room_and_is_cut_off(
    ingest: service.IngestService, log: embedded.EmbeddedLog, dribble: bool
) -> None:
    """Catches room held for what a client only announces, and a client that may take for ever."""
    head = b"POST /v1/events HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 1900\r\n\r\n{"
    async with _connected(ingest, head, dribble) as reader:
        neighbour = await _post(ingest, json.dumps({"id": "x" * 1_000}).encode(), _JSON)
        answer = await _answer(reader)
    assert neighbour[0] == 202
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert ingest.stats().bytes_in_flight == 0


@pytest.mark.parametrize("ingest", [{"connection_idle_seconds": 0.3}], indirect=True)
async def test_a_request_head_that_never_ends_is_cut_off(ingest: service.IngestService) -> None:
    """Catches connections that cost nothing to hold open, and a bound that each further byte puts off."""
    async with _connected(ingest, b"POST /v1/events HTTP/1.1\r\nHost: here\r\nX-Slow: ", dribble=True) as reader:
        assert await _answer(reader) == b""
    assert (await _post(ingest, b'{"id":"a"}', _JSON))[0] == 202


@contextlib.asynccontextmanager
async def _connected(ingest: service.IngestService, head: bytes, dribble: bool = False) -> AsyncIterator[asyncio.StreamReader]:
    """The answer's side of a connection on which `head` was sent, and then nothing or a byte at a time."""
    host, port_text = ingest.ports.http.split(":")
    reader, writer = await asyncio.open_connection(host, int(port_text))
    writer.write(head)
    fed = asyncio.create_task(_fed(writer)) if dribble else None
    try:
        yield reader
    finally:
        if fed is not None:
            fed.cancel()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _fed(writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        writer.write(b"x")
        await asyncio.sleep(0.02)


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """All of it until the server hangs up; also after it was cut off with bytes on their way."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := await asyncio.wait_for(reader.read(4_096), 20):
            answer += piece
    return answer


async def test_ten_thousand_headers_are_refused_at_both_doors(ingest: service.IngestService) -> None:
    """Catches memory given to headers without bound."""
    headers = b"".join(b"X-H%d: y\r\n" % number for number in range(10_000))
    async with _connected(ingest, b"POST /v1/events HTTP/1.1\r\nHost: here\r\n" + headers + b"\r\n") as reader:
        assert (await _answer(reader)).startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    async with grpc.aio.insecure_channel(ingest.ports.grpc) as channel:
        stub = ingest_pb2_grpc.IngestStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Publish(ingest_pb2.PublishRequest(), metadata=[(f"x-h{number}", "y") for number in range(10_000)])
        assert (await stub.Publish(ingest_pb2.PublishRequest(ndjson=b'{"id":"a"}'))).accepted == 1


async def test_a_repeated_key_is_answered_and_appends_nothing(ingest: service.IngestService, log: embedded.EmbeddedLog) -> None:
    """Catches events doubled by a client that repeats what it had no answer to, and a key that hides new events."""
    body = b'{"id":"a"}\nnope'
    first = await _post(ingest, body, _NDJSON, "/batch", Idempotency_Key="k1")
    again = await _post(ingest, body, _NDJSON, "/batch", Idempotency_Key="k1")
    other = await _post(ingest, b'{"id":"b"}', _NDJSON, "/batch", Idempotency_Key="k1")
    bad = await _post(ingest, body, _NDJSON, "/batch", Idempotency_Key="k 1")
    assert (first[0], again, other[0], bad[0]) == (202, first, 422, 400)
    async with grpc.aio.insecure_channel(ingest.ports.grpc) as channel:
        stub = ingest_pb2_grpc.IngestStub(channel)
        request = ingest_pb2.PublishRequest(ndjson=b'{"id":"c"}')
        answers = [await stub.Publish(request, metadata=(("idempotency-key", "k2"),)) for _ in range(2)]
        for _ in range(2):
            call = stub.PublishStream(metadata=(("idempotency-key", "k3"),))
            for sequence in (1, 2):
                await call.write(ingest_pb2.PublishRequest(sequence=sequence, ndjson=b'{"id":"d%d"}' % sequence))
                assert (await call.read()).accepted == 1
            await call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError) as reused:
            await stub.Publish(ingest_pb2.PublishRequest(ndjson=b'{"id":"z"}'), metadata=(("idempotency-key", "k2"),))
    assert [answer.accepted for answer in answers] == [1, 1]
    assert reused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await _ids(log) == ["a", "c", "d1", "d2"]
    assert ingest.stats().bytes_in_flight == 0


async def test_cloud_events_come_in_all_three_forms(ingest: service.IngestService, log: embedded.EmbeddedLog) -> None:
    """Catches a form that is read as plain JSON, and a bad event that takes its batch with it."""
    event = {"specversion": "1.0", "id": "structured", "source": "/s", "type": "t", "data": {"x": 1}}
    kind = "application/cloudevents+json; charset=utf-8"
    assert (await _post(ingest, json.dumps(event).encode(), kind))[0] == 202
    headers = {"ce_specversion": "1.0", "ce_id": "binary", "ce_source": "/s", "ce_type": "t"}
    assert (await _post(ingest, b'{"x":1}', _JSON, **headers))[0] == 202
    assert (await _post(ingest, b"", _JSON, **headers | {"ce_id": "empty"}))[0] == 202
    batch = json.dumps([event | {"id": "batch"}, {"id": "no event"}]).encode()
    for path in ("", "/batch"):
        status, answer = await _post(ingest, batch, "application/cloudevents-batch+json", path)
        assert (status, answer["accepted"], [why["index"] for why in answer["rejected"]]) == (202, 1, [1])
    status, answer = await _post(ingest, b"{}", kind)
    assert (status, answer["rejected"][0]["field"]) == (400, "specversion")
    assert await _ids(log) == ["structured", "binary", "empty", "batch", "batch"]
