"""The Kafka sink on a real broker, read back by another client."""

from __future__ import annotations

import collections
import contextlib
import datetime
import decimal
import io
import json
import random
import string

import confluent_kafka
import fastavro
import pyarrow as pa
import pytest
from tests.integration import kafka_sink, registry_stub
from tests.servers import kafka as servers_kafka

from penstock.core import delivery, results
from penstock.log.kafka import settings as kafka_settings
from penstock.sinks import certificates, port, tables
from penstock.sinks.kafka import brokers, compress, registry, rows
from penstock.wire import sink as wire


@pytest.mark.parametrize("codec", list(compress.Codec), ids=lambda codec: codec.value)
async def test_records_come_out_as_their_rows_went_in(kafka_server, codec):
    """Catches a wrong byte anywhere in a batch: the broker checks each record, and librdkafka reads keys, values, headers."""
    topic = kafka_sink.make_topic(kafka_server.bootstrap)
    count = 5_000
    columns = {
        "id": list(range(count)),
        "name": [None if number % 7 == 0 else f'é "{number}"\n' for number in range(count)],
        delivery.KEY_COLUMN: [None if number % 5 == 0 else f"key-{number % 100}" for number in range(count)],
        delivery.header_column(0): pa.array([None if number % 3 == 0 else number for number in range(count)]),
    }
    writer = kafka_sink.make_writer(
        kafka_server.bootstrap, codec=codec, layout=rows.Layout(headers=["part"]), batch_bytes=96 << 10
    )
    try:
        batch = kafka_sink.batch(topic, columns)
        await writer.describe(kafka_sink.LANE, topic, batch.rows.schema)
        assert await writer.write(batch) == delivery.WriteResult(written=count)
    finally:
        await writer.close()
    found = {json.loads(one.value)["id"]: one for one in kafka_sink.read(kafka_server.bootstrap, topic)}
    assert sorted(found) == list(range(count))
    for number, one in found.items():
        assert json.loads(one.value) == {"id": number, "name": columns["name"][number]}
        assert one.key == (None if number % 5 == 0 else b"key-%d" % (number % 100))
        part = None if number % 3 == 0 else str(number).encode()
        assert one.headers == {rows.EVENT_ID: f"log/0/0/{number}/0".encode(), "part": part}


async def test_equal_keys_land_where_librdkafka_puts_them(kafka_server):
    """Catches a hash that is not the Java client's: half of a customer's records would stand in another partition."""
    topic = kafka_sink.make_topic(kafka_server.bootstrap, partitions=7)
    keys = [random.Random(number).randbytes(number % 40) for number in range(1, 400)]
    other = confluent_kafka.Producer({"bootstrap.servers": kafka_server.bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        other.produce(topic, key=key, value=b"theirs")
    other.flush(20)
    async with _writing(kafka_server.bootstrap) as writer:
        columns = {"id": list(range(len(keys))), delivery.KEY_COLUMN: pa.array(keys, pa.binary())}
        assert (await writer.write(kafka_sink.batch(topic, columns))).written == len(keys)
    places = collections.defaultdict(set)
    for one in kafka_sink.read(kafka_server.bootstrap, topic):
        places[one.key].add(one.partition)
    assert len(places) == len(set(keys))
    assert {len(found) for found in places.values()} == {1}


async def test_a_row_too_large_is_refused_alone_and_its_neighbours_land(kafka_server):
    """Random text, which compression does not make fit. Catches a refusal of the batch, a gap in the sequences."""
    topic = kafka_sink.make_topic(kafka_server.bootstrap, max_message_bytes="20000")
    chance = random.Random(5)
    texts = ["".join(chance.choices(string.printable, k=60_000 if number in (3, 77) else 900)) for number in range(100)]
    texts[50] = "x" * 300_000
    async with _writing(kafka_server.bootstrap) as writer:
        batch = kafka_sink.batch(topic, {"text": texts, delivery.KEY_COLUMN: ["one"] * 100})
        answer = await writer.write(batch)
        assert [(row.row, row.result_class, row.code) for row in answer.rejected] == [
            (3, results.ResultClass.DATA, "TOO_LARGE"),
            (77, results.ResultClass.DATA, "TOO_LARGE"),
        ]
        assert "max.message.bytes is 20000" in answer.rejected[0].message
        assert list(answer.written_rows) == [delivery.Stretch(0, 3), delivery.Stretch(4, 77), delivery.Stretch(78, 100)]
        wire.check_result(answer, 100)
        assert (await writer.write(kafka_sink.batch(topic, {"text": ["after"]}))).written == 1
    found = [json.loads(one.value)["text"] for one in kafka_sink.read(kafka_server.bootstrap, topic) if one.key]
    assert found == [text for number, text in enumerate(texts) if number not in (3, 77)]


async def test_a_tombstone_has_no_value_and_needs_a_key(kafka_server):
    """Catches a deletion that writes the text null, and one without a key, which deletes nothing."""
    topic = kafka_sink.make_topic(kafka_server.bootstrap, cleanup_policy="compact")
    async with _writing(kafka_server.bootstrap) as writer:
        with pytest.raises(port.SinkError, match="takes no record without a key"):
            await writer.describe(kafka_sink.LANE, topic, pa.schema({"id": pa.int64()}))
        columns = {
            "id": [1, 2, 3, 4],
            delivery.KEY_COLUMN: ["a", "b", None, "d"],
            delivery.TOMBSTONE_COLUMN: pa.array([False, True, True, None]),
        }
        answer = await writer.write(kafka_sink.batch(topic, columns))
    assert [(row.row, row.code) for row in answer.rejected] == [(2, "NO_KEY")]
    found = {one.key: one.value for one in kafka_sink.read(kafka_server.bootstrap, topic)}
    assert found == {b"a": b'{"id":1}', b"b": None, b"d": b'{"id":4}'}


async def test_a_topic_is_made_only_where_the_policy_says_so(kafka_server):
    """Catches a topic nobody asked for, settings that are ignored, and a missing topic taken for an outage."""
    schema = pa.schema({"id": pa.int64()})
    missing, made, usual = (kafka_sink.topic_name() for _ in range(3))
    async with _writing(kafka_server.bootstrap, timeout_seconds=4.0) as writer:
        for call in (writer.describe(kafka_sink.LANE, missing, schema), writer.write(kafka_sink.batch(missing, {"id": [1]}))):
            with pytest.raises(port.SinkError) as caught:
                await call
            assert "CreateIfMissing" in caught.value.failure.remedy
            assert (caught.value.failure.result_class, caught.value.failure.code) == (results.ResultClass.CONFIG, "NO_TOPIC")
    told = brokers.NewTopic(partitions=5, replicas=1)
    policy = tables.TablePolicy.CREATE_IF_MISSING
    async with _writing(kafka_server.bootstrap, table_policy=policy, new_topic=told) as writer:
        described = await writer.describe(kafka_sink.LANE, made, schema)
    assert described.identity is delivery.Identity.NONE
    assert "1 replica, min.insync.replicas 1: one broker's disk" in described.identity_reason
    async with _writing(kafka_server.bootstrap, table_policy=policy) as writer:
        await writer.describe(kafka_sink.LANE, usual, schema)
    found = [await brokers.topic(kafka_sink.at(kafka_server.bootstrap), name, 10.0) for name in (missing, made, usual)]
    assert [topic and topic.partitions for topic in found] == [None, 5, 1]


@pytest.mark.parametrize(
    ("mechanism", "password", "code"),
    [
        (kafka_settings.Mechanism.SCRAM_SHA_512, servers_kafka.PASSWORD, None),
        (kafka_settings.Mechanism.PLAIN, servers_kafka.PASSWORD, None),
        (kafka_settings.Mechanism.SCRAM_SHA_512, "wrong", "CREDENTIALS_REJECTED"),
    ],
    ids=["scram", "plain", "wrong password"],
)
async def test_a_login_over_tls(kafka_server, mechanism, password, code):
    """Catches a password that isn't sent, an authority that isn't asked, and a refused login that dead-letters or halts."""
    topic = kafka_sink.make_topic(kafka_server.bootstrap)
    at = brokers.Brokers(
        bootstrap=[kafka_server.secure],
        mechanism=mechanism,
        user=servers_kafka.USER,
        password=lambda: password,
        tls=certificates.Tls(place="kafka.tls", authority=servers_kafka.AUTHORITY.read_text),
    )
    async with _writing(at) as writer:
        if code is None:
            assert (await writer.write(kafka_sink.batch(topic, {"id": [1]}))).written == 1
            return
        with pytest.raises(port.SinkError) as caught:
            await writer.write(kafka_sink.batch(topic, {"id": [1]}))
    assert (caught.value.failure.result_class, caught.value.failure.code) == (results.ResultClass.OUTAGE, code)
    assert "wrong" not in str(caught.value)


async def test_brokers_that_answer_nothing_are_an_outage_and_a_retry_keeps_the_order(kafka_server):
    """The broker stands still with a write on its way, which lands once it goes on: the same rows come twice.

    Catches a time-out that counts as refused, a write that never ends, and a sender whose late batch overtakes the next one.
    """
    topic = kafka_sink.make_topic(kafka_server.bootstrap, partitions=1)
    first, second = (kafka_sink.batch(topic, {"id": [n], delivery.KEY_COLUMN: ["k"]}, start=n) for n in (1, 2))
    async with _writing(kafka_server.bootstrap, timeout_seconds=3.0) as writer:
        assert (await writer.write(kafka_sink.batch(topic, {"id": [0], delivery.KEY_COLUMN: ["k"]}))).written == 1
        kafka_server.broker.suspend()
        try:
            with pytest.raises(port.SinkError) as caught:
                await writer.write(first)
        finally:
            kafka_server.broker.resume()
        assert caught.value.failure.result_class is results.ResultClass.OUTAGE
        for batch in (first, second):
            assert (await writer.write(batch)).written == 1
    found = [one.event_id for one in kafka_sink.read(kafka_server.bootstrap, topic)]
    assert list(dict.fromkeys(found)) == ["log/0/0/0/0", "log/0/1/0/0", "log/0/2/0/0"]
    assert len(found) <= 4


async def test_avro_is_read_back_by_its_own_schema(kafka_server):
    """Catches a wrong byte in any type, a schema that isn't the records', and a registry asked for each batch."""
    topic = kafka_sink.make_topic(kafka_server.bootstrap)
    columns = {
        "id": [1, 2],
        "name": ["é", None],
        "price": pa.array([decimal.Decimal("12.50"), decimal.Decimal("-0.01")], pa.decimal128(18, 2)),
        "at": pa.array([datetime.datetime(2026, 1, 31, 8, tzinfo=datetime.UTC), None], pa.timestamp("us", "UTC")),
        "tags": [["a", None], []],
    }
    async with registry_stub.Registry().serving() as schemas:
        schemas.login = ("user", "secret")
        told = registry.Registry(url=schemas.url, user=lambda: "user", password=lambda: "secret")
        async with _writing(kafka_server.bootstrap, format=rows.Avro(told)) as writer:
            for start in range(2):
                batch = kafka_sink.batch(topic, columns, start=start)
                await writer.describe(kafka_sink.LANE, topic, batch.rows.schema)
                assert (await writer.write(batch)).written == 2
        assert (list(schemas.subjects), schemas.asked) == ([f"{topic}-value"], 1)
        parsed = fastavro.parse_schema(json.loads(schemas.schemas[0]))
    found = kafka_sink.read(kafka_server.bootstrap, topic)
    assert {one.value[:5] for one in found} == {b"\0" + (100).to_bytes(4, "big")}
    read = [fastavro.schemaless_reader(io.BytesIO(one.value[5:]), parsed) for one in found]
    wanted = pa.table(columns).to_pylist()
    assert sorted(read, key=lambda row: row["id"]) == [wanted[0], wanted[0], wanted[1], wanted[1]]


@pytest.mark.parametrize(
    ("status", "result_class", "remedy"),
    [
        (409, results.ResultClass.CONFIG, "compatibility"),
        (422, results.ResultClass.CONFIG, "columns"),
        (403, results.ResultClass.CONFIG, "right"),
        (401, results.ResultClass.OUTAGE, "secret"),
        (500, results.ResultClass.OUTAGE, ""),
        (503, results.ResultClass.OUTAGE, ""),
    ],
)
async def test_what_a_registry_answers_says_whose_fault_it_is(status, result_class, remedy):
    """Catches a registry that is down taken for a wrong schema, and an incompatible schema tried for ever without a word."""
    async with registry_stub.Registry().serving() as schemas:
        schemas.failing = (status, "because")
        told = registry.Registry(url=schemas.url.replace("//", "//user:hidden@"))
        with pytest.raises(port.SinkError, match="because") as caught:
            await told.number("t-value", {"type": "record", "name": "t", "fields": []})
    assert caught.value.failure.result_class is result_class
    assert remedy in caught.value.failure.remedy
    assert "hidden" not in str(caught.value)


@contextlib.asynccontextmanager
async def _writing(bootstrap, **changes):
    writer = kafka_sink.make_writer(bootstrap, **changes)
    try:
        yield writer
    finally:
        await writer.close()
