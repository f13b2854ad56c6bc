"""The sink server and the batcher's client, against each other over real sockets."""

from __future__ import annotations

import asyncio
import threading

import grpc
import pyarrow as pa
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.unit.sinks import writes

from penstock.batcher.writing import sink_channel, sink_client
from penstock.core import delivery, results
from penstock.sinks import server, tables
from penstock.sinks.duckdb import writer as duckdb
from penstock.telemetry import metrics
from penstock.v1 import sink_pb2

DESCRIPTION = delivery.Description(
    identity=delivery.Identity.TOKEN, identity_reason="told", max_concurrency=3, preferred_rows=4, preferred_bytes=5
)


class Told:
    """A writer that answers what it is told and remembers what it was given."""

    def __init__(self, answer=None):
        self.answer = answer
        self.batches = []
        self.schemas = []

    async def describe(self, lane, table, schema):
        self.schemas.append((lane, table, schema))
        return self._answer(DESCRIPTION)

    async def write(self, batch):
        self.batches.append(batch)
        return self._answer(delivery.WriteResult(written=batch.rows.num_rows))

    async def query(self, sql): ...

    async def close(self): ...

    def _answer(self, otherwise):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer or otherwise


@pytest.fixture
async def connect(tmp_path):
    """Start a server for a writer and give its client; both are closed afterwards."""
    opened = []

    async def start(writer, address=None, **options):
        serving = server.SinkServer(writer, sink_type="Told", address=address or f"unix:{tmp_path}/sink.sock", **options)
        await serving.start()
        client = sink_client.SinkClient(serving.address)
        opened.append((client, serving))
        return client

    yield start
    for client, serving in opened:
        await client.close()
        await serving.close(grace_seconds=1)


async def failed(call):
    with pytest.raises(delivery.WriteFailedError) as caught:
        await call
    return caught.value


def large(rows=120_000):
    """Rows of several chunks."""
    return pa.table({"id": list(range(rows)), "name": [f"a name that is row {number}'s" for number in range(rows)]})


@pytest.mark.parametrize("address", [None, "127.0.0.1:0"])
async def test_a_batch_arrives_as_it_was_sent(connect, address):
    """Catches a field lost between client and server, and chunks put together wrongly."""
    writer = Told()
    client = await connect(writer, address)
    batch = writes.batch(large(), writes.span(3, 9), writes.span(1, 2, partition=4), finished_below=2)
    assert (await client.write(batch, deadline_seconds=30)).written == 120_000
    (arrived,) = writer.batches
    assert arrived.rows.equals(batch.rows)
    assert list(arrived.ranges) == list(batch.ranges)
    assert list(arrived.finished_below) == list(batch.finished_below)
    assert (arrived.lane, arrived.table, arrived.token) == (batch.lane, batch.table, batch.token)


async def test_a_description_arrives_as_it_was_given(connect):
    """Catches a schema that changes on the way: the table would be created with other types."""
    writer = Told()
    client = await connect(writer)
    schema = pa.schema([pa.field("a", pa.decimal128(18, 4), nullable=False), ("t", pa.timestamp("us", "UTC"))])
    assert await client.describe("lane", "table", schema) == DESCRIPTION
    assert writer.schemas == [("lane", "table", schema)]


@pytest.mark.parametrize(
    "answer",
    [
        delivery.WriteResult(already_landed=(writes.span(0, 1),)),
        delivery.WriteResult(
            rejected=(results.RejectedRow(row=1, result_class=results.ResultClass.DATA, code="C", message="no"),)
        ),
        delivery.WriteResult(written=1, written_rows=(delivery.Stretch(0, 1),)),
    ],
    ids=["landed", "rejected", "part"],
)
async def test_an_answer_arrives_as_it_was_given(connect, answer):
    """Catches rejected rows or landed ranges that are dropped, which reads as everything written."""
    client = await connect(Told(answer))
    batch = writes.batch(writes.numbered(0, 2), writes.span(0, 2))
    assert await client.write(batch, deadline_seconds=30) == answer


async def test_an_answer_that_forgets_rows_is_not_taken_for_success(connect):
    """Catches a sink of somebody else's that took some rows and says so: the others would count as written."""
    client = await connect(Told(delivery.WriteResult(written=1)))
    failure = (await failed(client.write(writes.batch(writes.numbered(0, 2)), deadline_seconds=30))).failure
    assert (failure.result_class, failure.code) == (results.ResultClass.CONFIG, "UNREADABLE_ANSWER")
    assert "written" in failure.message


async def test_a_failure_arrives_as_it_was_raised(connect):
    """Catches a failure that becomes a status, where it loses its class and its remedy."""
    error = tables.misconfigured("NO_TABLE", "there is no table t", "create it")
    client = await connect(Told(error))
    batch = writes.batch(writes.numbered(0, 2), writes.span(0, 2))
    assert (await failed(client.write(batch, deadline_seconds=30))).failure == error.failure
    assert (await failed(client.describe("l", "t", batch.rows.schema))).failure == error.failure


async def test_what_a_writer_did_not_foresee_is_unclassified_and_says_what_it_was(connect):
    """Catches an exception that ends the call without an answer, or with one that says nothing."""
    client = await connect(Told(KeyError("lost")))
    failure = (await failed(client.write(writes.batch(writes.numbered(0, 1)), deadline_seconds=30))).failure
    assert (failure.result_class, failure.code) == (results.ResultClass.UNCLASSIFIED, "KeyError")
    assert "lost" in failure.message


async def test_a_flood_of_rejections_fits_the_answer(connect):
    """Catches an answer over gRPC's limit: the write would fail for ever without a reason."""
    rows = [
        results.RejectedRow(row=row, result_class=results.ResultClass.DATA, code="C", message="m" * 50_000)
        for row in range(5_000)
    ]
    client = await connect(Told(delivery.WriteResult(rejected=rows)))
    answer = await client.write(writes.batch(writes.numbered(0, 5_000)), deadline_seconds=30)
    assert [row.row for row in answer.rejected] == list(range(2_000))


async def test_a_server_that_is_away_is_an_outage(tmp_path):
    """Catches a refused connection taken for anything but a store that is away."""
    client = sink_client.SinkClient(f"unix:{tmp_path}/nobody.sock")
    error = await failed(client.write(writes.batch(writes.numbered(0, 1)), deadline_seconds=5))
    assert error.failure.result_class is results.ResultClass.OUTAGE
    await client.close()


async def test_a_write_over_the_limit_is_refused_before_it_fills_the_memory(connect):
    """Catches a server that collects whatever it is sent."""
    writer = Told()
    client = await connect(writer, max_write_bytes=1_000_000)
    failure = (await failed(client.write(writes.batch(large()), deadline_seconds=30))).failure
    assert (failure.code, failure.result_class) == ("WRITE_TOO_LARGE", results.ResultClass.CONFIG)
    assert writer.batches == []
    assert (await client.write(writes.batch(writes.numbered(0, 1)), deadline_seconds=30)).written == 1


def header(rows):
    return sink_pb2.WriteBatchRequest(header=sink_pb2.WriteHeader(lane="l", table="t", rows=rows))


def _only(client: sink_client.SinkClient) -> sink_channel.SinkChannel:
    return client._channel(client._given[0])


STREAM = sink_channel.encode(writes.numbered(0, 3)).to_pybytes()


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([], "before its header"),
        ([sink_pb2.WriteBatchRequest(chunk=STREAM)], "first message"),
        ([header(3), header(3)], "first message"),
        ([header(3)], "can't be read"),
        ([header(3), sink_pb2.WriteBatchRequest(chunk=STREAM[:-60])], "can't be read|has"),
        ([header(3), sink_pb2.WriteBatchRequest(chunk=b"\0" * 100)], "can't be read|has"),
        ([header(2), sink_pb2.WriteBatchRequest(chunk=STREAM)], "says 2 rows, the stream has 3"),
    ],
)
async def test_what_is_no_write_is_refused_and_nothing_is_written(connect, requests, reason):
    """Catches a stream that ends early written as if it were whole: the batcher would count rows that are not there."""
    writer = Told()
    client = await connect(writer)
    with pytest.raises(grpc.aio.AioRpcError, match=reason) as caught:
        await _only(client)._stub.WriteBatch(iter(requests))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert writer.batches == []


async def test_a_schema_that_is_none_is_refused(connect):
    """Catches a description given for a schema nobody could read."""
    client = await connect(Told())
    with pytest.raises(grpc.aio.AioRpcError, match="arrow_schema"):
        await _only(client)._stub.Describe(sink_pb2.DescribeRequest(arrow_schema=b"nonsense"))


class Slow:
    """Holds a DuckDB write between insert and commit until it is let go."""

    def __init__(self, path):
        self.reached, self.go = threading.Event(), threading.Event()
        self.writer = duckdb.DuckDBWriter(path / "out.db", failpoint=self.hold)

    def hold(self, step):
        if step == "journalled":
            self.reached.set()
            self.go.wait(30)


async def test_a_write_past_its_deadline_ends_and_its_retry_hears_of_it(connect, tmp_path):
    """Catches half a write left by a deadline, a retry that lands the rows again, and one that overtakes the first."""
    slow = Slow(tmp_path)
    client = await connect(slow.writer)
    batch = writes.batch(writes.numbered(0, 3), writes.span(0, 3))
    await client.describe(batch.lane, batch.table, batch.rows.schema)
    error = await failed(client.write(batch, deadline_seconds=0.3))
    assert (error.timed_out, error.failure.result_class) == (True, results.ResultClass.OUTAGE)
    assert slow.reached.is_set()
    retry = asyncio.create_task(client.write(batch, deadline_seconds=30))
    await asyncio.sleep(0.1)
    assert not retry.done()
    slow.go.set()
    assert list((await retry).already_landed) == [writes.span(0, 3)]
    assert (await slow.writer.query("SELECT id FROM clicks ORDER BY id")).column("id").to_pylist() == [0, 1, 2]
    await slow.writer.close()


async def test_a_write_whose_deadline_passes_in_the_queue_never_begins(connect, tmp_path):
    """Catches writes that pile up behind a slow one after their callers are gone."""
    slow = Slow(tmp_path)
    client = await connect(slow.writer)
    schema = writes.numbered(0, 0).schema
    await client.describe(writes.LANE, "clicks", schema)
    first = asyncio.create_task(client.write(writes.batch(writes.numbered(0, 1), writes.span(0, 1)), deadline_seconds=30))
    await asyncio.to_thread(slow.reached.wait)
    await failed(client.write(writes.batch(writes.numbered(1, 2), writes.span(1, 2)), deadline_seconds=0.3))
    slow.go.set()
    assert (await first).written == 1
    assert (await slow.writer.query("SELECT id FROM clicks")).column("id").to_pylist() == [0]
    await slow.writer.close()


async def test_closing_waits_for_the_write_under_way(tmp_path):
    """Catches a server that closes over a write, so that its caller hears of an outage although the rows are there."""
    slow = Slow(tmp_path)
    serving = server.SinkServer(slow.writer, sink_type="DuckDB", address=f"unix:{tmp_path}/sink.sock")
    await serving.start()
    client = sink_client.SinkClient(serving.address)
    batch = writes.batch(writes.numbered(0, 1), writes.span(0, 1))
    await client.describe(batch.lane, batch.table, batch.rows.schema)
    write = asyncio.create_task(client.write(batch, deadline_seconds=30))
    await asyncio.to_thread(slow.reached.wait)
    closing = asyncio.create_task(serving.close())
    await asyncio.sleep(0.1)
    assert not closing.done()
    slow.go.set()
    assert (await write).written == 1
    await closing
    await client.close()
    await slow.writer.close()


async def test_health_tells_that_it_serves(connect):
    """Catches probes that never see the server ready."""
    client = await connect(Told())
    stub = health_pb2_grpc.HealthStub(_only(client)._channel)
    for service in ("", "penstock.v1.Sink"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_rows_bytes_and_seconds_are_counted_once_per_write(connect):
    """Catches a metric that counts a refused write as written, or forgets the part of it that was."""

    def value(name, **labels):
        return metrics.REGISTRY.get_sample_value(f"penstock_{name}", {"sink_type": "Told", **labels}) or 0.0

    names = (
        ("sink_rows_total", {"outcome": "written"}),
        ("sink_rows_total", {"outcome": "already_landed"}),
        ("sink_rows_total", {"outcome": "rejected"}),
        ("sink_write_seconds_count", {"outcome": "written"}),
        ("sink_write_seconds_count", {"outcome": "already_landed"}),
        ("sink_write_seconds_count", {"outcome": "config"}),
    )
    before = [value(name, **labels) for name, labels in names]
    received = value("sink_bytes_total")
    writer = Told()
    client = await connect(writer)
    batch = writes.batch(writes.numbered(0, 5), writes.span(0, 5))
    await client.write(batch, deadline_seconds=30)
    writer.answer = delivery.WriteResult(already_landed=[writes.span(0, 5)])
    await client.write(batch, deadline_seconds=30)
    refused = results.RejectedRow(row=4, result_class=results.ResultClass.DATA, code="C", message="no")
    writer.answer = delivery.WriteResult(written=2, written_rows=[delivery.Stretch(0, 2)], rejected=[refused])
    await client.write(batch, deadline_seconds=30)
    writer.answer = tables.misconfigured("C", "m", "r")
    await failed(client.write(batch, deadline_seconds=30))
    after = [value(name, **labels) for name, labels in names]
    assert [now - then for now, then in zip(after, before, strict=True)] == [7, 5, 1, 1, 1, 1]
    assert value("sink_bytes_total") - received == 4 * sink_channel.encode(batch.rows).size


async def test_a_socket_left_by_a_killed_server_is_taken_over(connect, tmp_path):
    """Catches a start that fails after kill -9, and a socket that others on the machine may use."""
    path = tmp_path / "sink.sock"
    left = await asyncio.start_unix_server(lambda *_: None, path)
    left.close()
    await left.wait_closed()
    path.touch()
    client = await connect(Told())
    assert path.stat().st_mode & 0o777 == 0o600
    assert (await client.write(writes.batch(writes.numbered(0, 1)), deadline_seconds=30)).written == 1


async def test_an_address_that_can_not_be_had_is_said(connect):
    """Catches a second server that shares the port of the first, or one that listens nowhere."""
    client = await connect(Told(), "127.0.0.1:0")
    for address, reason in ((client._given[0], "can't listen"), (f"unix:/tmp/{'x' * 120}/sink.sock", "shorter directory")):
        serving = server.SinkServer(Told(), sink_type="Told", address=address)
        with pytest.raises(OSError, match=reason):
            await serving.start()
        await serving.close()
