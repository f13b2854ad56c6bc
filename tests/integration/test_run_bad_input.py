"""Hostile and broken input against a running pipeline: what is bad is named, its neighbours land, the process stays well.

One pipeline serves the whole file; each test sends events with names of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import pathlib
import re
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import aiohttp
import grpc
import pyarrow as pa
import pytest
from pyarrow import ipc
from tests.integration import running

from penstock.v1 import ingest_pb2

NAMES = itertools.count()
JSON, NDJSON, ARROW = "application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"
SCHEMA = pa.schema([("id", pa.string()), ("customer", pa.int64()), ("note", pa.string())])
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Running]:
    """A pipeline with one sink; at the end everything it took is accounted for."""
    text = running.changed(sinks=running.only_warehouse())
    with running.Running(tmp_path_factory.mktemp("bad"), text) as started:
        started.start()
        yield started
        started.settled()
        assert started.pipeline.stop() == 0


def name() -> str:
    """The beginning of the names of one test's events."""
    return f"t{next(NAMES)}-"


def landed(run: running.Running, beginning: str) -> list[str]:
    run.settled()
    return [row[0] for row in run.landed(f"SELECT id FROM orders WHERE starts_with(id, '{beginning}') ORDER BY id")]


def resident_bytes(run: running.Running) -> int:
    assert run.pipeline.process is not None
    text = pathlib.Path(f"/proc/{run.pipeline.process.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("VmRSS:"))


def good(beginning: str, number: int) -> bytes:
    return json.dumps({"id": f"{beginning}{number}", "customer": number}).encode()


FAULTS: dict[str, tuple[bytes, str, str]] = {
    "malformed": (b'{"id":"x","customer":}', "Malformed", ""),
    "cut off": (b'{"id":"x","customer":1', "Malformed", ""),
    "wrong type": (b'{"id":"x","customer":"one"}', "SchemaMismatch", "customer"),
    "missing": (b'{"id":"x"}', "SchemaMismatch", "customer"),
    "null": (b'{"id":"x","customer":null}', "SchemaMismatch", "customer"),
    "too large": (b'{"id":"x","customer":1,"note":"%s"}' % (b"n" * 70_000), "TooLarge", ""),
    "not UTF-8": (b'{"id":"x\xff","customer":1}', "Malformed", ""),
    "a number": (b"7", "Malformed", ""),
    "out of range": (b'{"id":"x","customer":99999999999999999999}', "SchemaMismatch", "customer"),
}


def as_http(run: running.Running, kind: str, events: Sequence[bytes]) -> tuple[int, list[tuple[int, str, str]]]:
    body = b"[" + b",".join(events) + b"]" if kind == JSON else b"\n".join(events)
    reply = run.post(body, kind)
    assert all(why["reason"] and why["remedy"] for why in reply.body["rejected"])
    return reply.body["accepted"], [(why["index"], why["code"], why["field"]) for why in reply.body["rejected"]]


def as_documents(run: running.Running, _: str, events: Sequence[bytes]) -> tuple[int, list[tuple[int, str, str]]]:
    answer = run.publish(ingest_pb2.PublishRequest(documents=ingest_pb2.Documents(json=events)))
    codes = {"MALFORMED": "Malformed", "SCHEMA_MISMATCH": "SchemaMismatch", "TOO_LARGE": "TooLarge"}
    spoken = ingest_pb2.RejectionCode.Name
    return answer.accepted, [
        (why.index, codes[spoken(why.code).removeprefix("REJECTION_CODE_")], why.field) for why in answer.rejected
    ]


@pytest.mark.parametrize(
    ("send", "kind"), [(as_http, JSON), (as_http, NDJSON), (as_documents, "")], ids=["array", "lines", "grpc"]
)
def test_a_bad_event_is_named_by_its_place_and_its_neighbours_land(run: running.Running, send: Any, kind: str) -> None:
    """Each fault at the first, a middle and the last place of five. Catches a place that is off, a neighbour that is lost."""
    beginning = name()
    number = itertools.count()
    for fault, (bad, code, field) in FAULTS.items():
        for place in (0, 2, 4):
            events = [good(beginning, next(number)) for _ in range(4)]
            events.insert(place, bad)
            accepted, rejected = send(run, kind, events)
            if fault == "cut off" and kind == JSON:
                # Where an array breaks off inside an event nothing after it can be told apart any more.
                assert [(why[0], why[1]) for why in rejected] == [(place, code)], (fault, place)
                assert accepted == place
            else:
                assert (accepted, rejected) == (4, [(place, code, field)]), (fault, place)
    lost = 4 + 2 if kind == JSON else 0
    assert len(landed(run, beginning)) == next(number) - lost


def test_columns_with_bad_rows_or_of_bad_bytes_are_refused_in_part_or_whole(run: running.Running) -> None:
    """Catches a NULL in a required column that lands, a stream cut short that is taken, and columns of another type."""
    beginning = name()
    stream = arrow({"id": [f"{beginning}1", None, f"{beginning}3"], "customer": [1, 2, None], "note": [None] * 3})
    reply = run.post(stream, ARROW)
    assert (reply.body["accepted"], [(why["index"], why["field"]) for why in reply.body["rejected"]]) == (
        1,
        [(1, "id"), (2, "customer")],
    )
    for broken in (stream[:-40], stream[: len(stream) // 2], b"ARROW1" + stream, b"\xff" * 400, stream[8:]):
        answer = run.post(broken, ARROW)
        assert answer.status in (400, 202), answer
        assert answer.status == 400 or answer.body["accepted"] <= 1
    texts = pa.table({"id": ["x"], "customer": ["one"]})
    assert run.post(encoded(texts), ARROW).status == 400
    assert landed(run, beginning) == [f"{beginning}1"] * len(landed(run, beginning))


def arrow(columns: dict[str, list[Any]]) -> bytes:
    return encoded(pa.table(columns, schema=SCHEMA))


def encoded(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_a_request_refused_as_a_whole_says_why(run: running.Running) -> None:
    """Catches a refusal without a reason, one that took something, and a body that is read although it can't be held."""
    beginning = name()
    one = good(beginning, 1)
    for path, kind, body, status in (
        ("/v1/events", JSON, b"", 400),
        ("/v1/events/batch", NDJSON, b"", 400),
        ("/v1/events", "application/xml", one, 415),
        ("/v1/events/batch", "text/html; charset=utf-8", one, 415),
        ("/v1/events/batch", JSON, one, 400),
        ("/v1/nowhere", JSON, one, 404),
    ):
        reply = run.post(body, kind, path)
        assert (reply.status, reply.body["status"]) == (status, status)
        assert reply.body["title"]
        assert reply.body["detail"]
    assert b" 413 " in raw(run, b"Content-Length: 99999999999\r\n\r\n")[:20]
    assert run.post(b"\x1f\x8b garbage", NDJSON, Content_Encoding="gzip").status in (400, 415)
    with pytest.raises(grpc.RpcError) as refused:
        run.publish(ingest_pb2.PublishRequest())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert landed(run, beginning) == []


def raw(run: running.Running, rest: bytes) -> bytes:
    """The beginning of the answer to a request whose end is `rest`."""
    with opened(run) as connection:
        connection.sendall(head() + rest)
        return connection.recv(200)


def opened(run: running.Running) -> socket.socket:
    return socket.create_connection(("127.0.0.1", run.pipeline.ports["http"]), timeout=running.PATIENCE_SECONDS)


def head() -> bytes:
    return b"POST /v1/events/batch HTTP/1.1\r\nHost: here\r\nContent-Type: application/x-ndjson\r\n"


def test_half_sent_bodies_hold_up_nobody_and_cost_little(run: running.Running) -> None:
    """Catches room that is held for bytes that never come, and an event that is taken from a body without its end."""
    beginning, before = name(), resident_bytes(run)
    half = [opened(run) for _ in range(60)]
    for number, connection in enumerate(half):
        # The first of them alone announces all that there is room for.
        announced = b"Content-Length: %d" % (64 * MEBIBYTE if number == 1 else 8_000_000)
        length = announced if number % 2 else b"Transfer-Encoding: chunked"
        start = b"%x\r\n%s\r\n" % (len(good(beginning, number)) + 1, good(beginning, number) + b"\n")
        connection.sendall(head() + length + b"\r\n\r\n" + (start if number % 2 == 0 else good(beginning, number) + b"\n"))
    assert [run.post(good(beginning, 1000 + n), NDJSON).status for n in range(5)] == [202] * 5
    for connection in half:
        connection.close()
    running.until(lambda: None if run.status().ingest.bytes_in_flight else True)
    assert landed(run, beginning) == [f"{beginning}{1000 + n}" for n in range(5)]
    assert resident_bytes(run) - before < 100 * MEBIBYTE


async def test_a_thousand_requests_at_once_are_all_answered(run: running.Running) -> None:
    """Catches a request that is dropped, an answer that is another's, and memory that is not given back."""
    beginning, before = name(), resident_bytes(run)
    address = f"http://127.0.0.1:{run.pipeline.ports['http']}/v1/events"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

        async def post(number: int) -> tuple[int, int]:
            body = good(beginning, number) if number % 10 else b"nope"
            async with client.post(address, data=body, headers={"Content-Type": JSON}) as response:
                return response.status, (await response.json())["accepted"]

        answers = await asyncio.gather(*(post(number) for number in range(1000)))
    assert answers == [(202, 1) if number % 10 else (400, 0) for number in range(1000)]
    assert len(landed(run, beginning)) == 900
    assert resident_bytes(run) - before < 150 * MEBIBYTE


REFUSED = {
    "a tab": ("  schema:", "\tschema:", ["tab", "space"]),
    "another kind": ("kind: BatchPipeline", "kind: BatchPipelin", ["kind: ", "Did you mean BatchPipeline?"]),
    "an unknown field": ("deduplicate:", "deduplicat:", ["spec.deduplicat", "Did you mean deduplicate?"]),
    "an unknown column": ("coalesce(region", "coalesce(regoin", ["spec.transform.select[2].value", "regoin", "region"]),
    "an unknown function": (
        "coalesce(region",
        "coalesse(region",
        ["spec.transform.select[2].value", "coalesse", "not a function"],
    ),
    "a file": ("coalesce(region, 'none')", "(select content from read_text('/etc/passwd'))", ["spec.transform.select[2].value"]),
    "a setting": ("coalesce(region, 'none')", "current_setting('memory_limit')", ["spec.transform.select[2].value"]),
    "the environment": ("coalesce(region, 'none')", "getenv('HOME')", ["spec.transform.select[2].value"]),
    "a statement": ("coalesce(region, 'none')", "1); attach 'x.db' as x; --", ["spec.transform.select[2].value"]),
    "the clock": ("coalesce(region, 'none')", "now()", ["spec.transform.select[2].value", "received_at"]),
    "a column in when": ('when: "item is not null', 'when: "itme is not null', ["spec.sinks[1].when", "item"]),
}


def test_a_pipeline_file_that_can_not_run_is_refused_before_anything_starts(tmp_path: pathlib.Path) -> None:
    """By `run` and by `validate`, with line, field and remedy. Catches SQL that reaches out of its row, and a half-made start."""
    wanted = []
    for number, (before, after, _) in enumerate(REFUSED.values()):
        text = running.PIPELINE.replace(before, after, 1)
        assert text != running.PIPELINE
        (tmp_path / f"{number}.yaml").write_text(text)
        wanted += [["validate", f"{number}.yaml"], ["run", f"{number}.yaml", f"--data=data{number}"]]
    said = running.commands(tmp_path, wanted)
    for (title, (_, _, fragments)), checked, ran in zip(REFUSED.items(), said[::2], said[1::2], strict=True):
        assert (checked.code, ran.code) == (1, 1), (title, checked, ran)
        for fragment in fragments:
            assert fragment in checked.out, (title, checked)
            assert fragment in ran.err, (title, ran)
        assert re.search(r"\.yaml:\d+: ", checked.out), (title, checked)
        assert re.match(r"line \d+: ", ran.err), (title, ran)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".yaml"] * len(REFUSED)
