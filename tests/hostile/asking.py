"""Asking Penstock what it makes of a hostile input; each answer is one line of text, held against answers.json.

The doors are those of one `penstock run`; everything else is asked in one more process, whose memory is its own.
"""

from __future__ import annotations

import http.client
import json
import pathlib
import re
import socket
from collections.abc import Iterator

import grpc
import pyarrow as pa
from tests.hostile import entry, events, expressions, files, records, requests
from tests.integration import running

from penstock.api.reading import document
from penstock.cli import validate
from penstock.core import blocks, schema
from penstock.core.transform import compile as compiler
from penstock.core.transform import spec, transform
from penstock.v1 import ingest_pb2

ANSWERS = pathlib.Path(__file__).with_name("answers.json")
BEFORE, AFTER = b'{"id":"before","kind":"eu"}', b'{"id":"after","kind":"us"}'
MOST_CHARACTERS = 400

PIPELINE = """
apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: hostile, namespace: test}
spec:
  log: {type: Embedded, embedded: {partitions: 1}}
  source: {type: Ingest, ingest: {}}
  schema:
    fields:
      - {name: id, type: String, required: true}
      - {name: kind, type: String}
      - {name: s, type: String}
      - {name: d, type: Float64}
      - {name: "n", type: Int64}
      - {name: m, type: Decimal, precision: 9, scale: 3}
      - {name: day, type: Date}
      - {name: ts, type: Timestamp}
      - {name: j, type: Json}
      - {name: l, type: List, element: {type: Int64}}
  transform:
    select:
      - {name: id}
      - {name: kind}
      - {name: size, value: "length(s)"}
      - {name: items, value: "len(l)"}
  sinks:
    - name: lake
      type: DuckDB
      duckDB:
        path: hostile.duckdb
        table: {template: "events_{kind}", allowed: [eu, us], otherwise: events_other}
      batching: {static: {rows: 1000, lingerMilliseconds: 20}}
"""


class Doors:
    """A running pipeline, asked through its doors."""

    def __init__(self, run: running.Running) -> None:
        self._run = run

    def event(self, one: entry.Event) -> dict[str, str]:
        """By line, as an item of an array, and over gRPC; always between two good events."""
        trio = [BEFORE, one.make(), AFTER]
        return {
            "lines": self._posted(b"\n".join(trio), entry.NDJSON),
            "array": self._posted(b"[" + b",".join(trio) + b"]", entry.JSON),
            "grpc": self._published(trio),
        }

    def _posted(self, body: bytes, kind: str) -> str:
        reply = self._run.post(body, kind)
        return _itemised(reply.status, reply.body)

    def _published(self, documents: list[bytes]) -> str:
        try:
            answer = self._run.publish(ingest_pb2.PublishRequest(documents=ingest_pb2.Documents(json=documents)))
        except grpc.RpcError as error:
            return _cut(f"{error.code().name}: {error.details()}")  # type: ignore[attr-defined]
        code = ingest_pb2.RejectionCode.Name
        told = [
            f"{why.index} {code(why.code).removeprefix('REJECTION_CODE_')} {_at(why.field)}{why.reason}"
            for why in answer.rejected
        ]
        return _cut(f"{answer.accepted} accepted" + "".join(f"; {one}" for one in told))

    def request(self, one: entry.Request) -> str:
        """One request with headers in any number."""
        connection = http.client.HTTPConnection("127.0.0.1", self._run.pipeline.ports["http"], timeout=running.PATIENCE_SECONDS)
        body = one.make()
        connection.putrequest("POST", one.path)
        for name, value in (("Content-Type", one.kind), ("Content-Length", str(len(body))), *one.headers):
            connection.putheader(name, value)
        try:
            connection.endheaders(body)
            response = connection.getresponse()
            return _itemised(response.status, json.loads(response.read()))
        finally:
            connection.close()

    def raw(self, one: entry.Raw) -> str:
        """The status line, or that the connection was closed without one."""
        address = ("127.0.0.1", self._run.pipeline.ports["http"])
        with socket.create_connection(address, timeout=running.PATIENCE_SECONDS) as connection:
            try:
                connection.sendall(one.make())
                answer = connection.recv(200)
            except ConnectionError:
                answer = b""
        status = re.match(rb"HTTP/1\.[01] (\d+)", answer)
        return status[1].decode() if status else "closed without an answer"


def _itemised(status: int, body: dict[str, object]) -> str:
    if "detail" in body:
        return _cut(f"{status}: {body['detail']}")
    rejected = body["rejected"]
    assert isinstance(rejected, list)
    told = "".join(f"; {why['index']} {why['code']} {_at(why['field'])}{why['reason']}" for why in rejected[:2])
    more = f"; and {len(rejected) - 2:,} more" if len(rejected) > 2 else ""
    return _cut(f"{status}, {body['accepted']} accepted{told}{more}")


def _at(field: str) -> str:
    return f"{field}: " if field else ""


def _cut(text: str) -> str:
    # What is left of the bound depends on how well this machine's library packed the bomb.
    text = re.sub(r"unpacked body is larger than [\d,]+", "unpacked body is larger than …", text)
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"


_TYPES = schema.FieldType
_SCHEMA = schema.Schema(
    fields=(
        schema.Field(name="s", type=_TYPES.STRING),
        schema.Field(name="n", type=_TYPES.INT64),
        schema.Field(name="ts", type=_TYPES.TIMESTAMP),
        schema.Field(name="l", type=_TYPES.LIST, element=schema.Field(name="item", type=_TYPES.INT64)),
    )
)
_ROWS = [
    {"s": "small", "n": 3, "ts": 0, "l": [1, 2, 3]},
    {"s": "x" * 200_000, "n": 1_000_000, "ts": 0, "l": list(range(20_000))},
]


def expression(one: entry.Expression) -> str:
    """Refused when compiled, or what becomes of a small row and a large one."""
    wanted = spec.Expression(name="x", sql=one.sql, path="spec.transform.select[0].value")
    told = spec.TransformSpec(schema=_SCHEMA, select=(spec.Output(name="x", value=wanted), spec.Output(name="n")))
    if problems := compiler.check(told):
        return _cut(f"refused: {problems[0].message}")
    made = transform.Transform(told, time_limit_seconds=0.5)
    try:
        table = pa.table({name: pa.array([row[name] for row in _ROWS]) for name in made.input_columns if name in _ROWS[0]})
        done = made.run(table.append_column(spec.EVENT_COLUMN, pa.array([0, 1], pa.int32())))
    finally:
        made.close()
    return _cut(f"{done.rows.num_rows} rows" + "".join(f"; row {why.event} fails: {why.message}" for why in done.failures))


def file(one: entry.File) -> str:
    """The first problem that `penstock validate` names."""
    problems = validate.judge(one.make()[: document.MAX_BYTES + 1], "p.yaml").problems
    return _cut(str(problems[0]).split("\n")[0]) if problems else "valid"


def block(one: entry.Block) -> str:
    """What the reader of blocks says, of all columns and of one."""
    said = {_read(one, columns) for columns in (None, ["n"])}
    return _cut(" / ".join(sorted(said)))


def _read(one: entry.Block, columns: list[str] | None) -> str:
    value, headers = one.make()
    try:
        return f"{blocks.decode(value, headers, columns=columns).num_rows} rows"
    except blocks.BlockError as error:
        return f"{type(error).__name__}: {error}"


def of_this_process() -> Iterator[tuple[str, str]]:
    """Every answer that needs no door, by room and name."""
    for sql in expressions.EXPRESSIONS:
        yield f"expression: {sql.name}", expression(sql)
    for text in files.FILES:
        yield f"file: {text.name}", file(text)
    for record in records.RECORDS:
        yield f"block: {record.name}", block(record)


def of_the_doors(doors: Doors) -> Iterator[tuple[str, str]]:
    """Every answer of a running pipeline."""
    for event in events.EVENTS:
        for door, said in doors.event(event).items():
            yield f"event by {door}: {event.name}", said
    for request in requests.REQUESTS:
        yield f"request: {request.name}", doors.request(request)
    for raw in requests.RAW:
        yield f"connection: {raw.name}", doors.raw(raw)


def known() -> dict[str, str]:
    """The answers as they are expected."""
    answers: dict[str, str] = json.loads(ANSWERS.read_text())
    return answers
