"""How topics of a user may be: grown, compacted, stamped by the broker, with huge records; and where reading begins."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import uuid

import confluent_kafka
import pytest
from confluent_kafka import admin
from tests.integration import kafka_sink, kafka_source, lane_run, registry_stub, source_run
from tests.integration import test_kafka_source_avro as avro
from tests.servers import kafka

from penstock.core import expiry, selection
from penstock.log import port
from penstock.log.kafka import client as kafka_client
from penstock.log.kafka import settings as kafka_settings
from penstock.replay import job, survey

IDS = "SELECT id FROM orders ORDER BY ALL"


def ids(numbers) -> list[tuple[str]]:
    return sorted((f"o{number}",) for number in numbers)


async def grow(bootstrap: str, topic: str, partitions: int) -> None:
    client = kafka_client.Client(kafka_settings.Settings(bootstrap=bootstrap, prefix="test", partitions=1))
    await client.open()
    try:
        await client.grow(topic, partitions)
    finally:
        await client.close()


def produce(bootstrap: str, topic: str, numbers, **each) -> None:
    kafka_source.produce(bootstrap, topic, map(kafka_source.order, numbers), **each)


@pytest.mark.parametrize("own", ["Embedded", "Kafka"])
async def test_a_topic_that_is_given_more_partitions_is_read_whole_after_the_next_start(kafka_server, tmp_path, own):
    """Catches a pipeline that does not start any more because its own log is smaller, or has no place for the letters of a new
    partition, and a command that looks in between and fails."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=2)
    log = {"type": "Kafka", "kafka": {"bootstrapServers": [bootstrap], "replicationFactor": 1}}
    text = kafka_source.pipeline(bootstrap, [topic], log=log if own == "Kafka" else None)
    text = text.replace("name: orders", f"name: o{uuid.uuid4().hex[:12]}", 1)
    async with source_run.SourceRun(tmp_path, text).opened() as run:
        produce(bootstrap, topic, range(10), partition=1)
        assert (await run.drained()).written == 10
        await grow(bootstrap, topic, 4)
        kafka_source.produce(bootstrap, topic, [b"{", *map(kafka_source.order, range(10, 20))], partition=3)
        assert await run.letters() == []
        done = await run.drained()
        assert (done.written, done.dead_lettered_events) == (20, 1)
        assert await run.rows(IDS) == ids(range(20))
        (letter,) = await run.letters()
        assert (letter.partition, letter.record.partition, letter.original) == (3, 3, b"{")


async def test_now_is_when_the_first_process_began(kafka_server, tmp_path):
    """Catches a beginning that moves with each process until something has been committed, and one that skips what a
    partition held which was added later."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=2)
    text = kafka_source.pipeline(bootstrap, [topic], source={"startFrom": {"type": "Now"}})
    async with source_run.SourceRun(tmp_path, text).opened() as run:
        produce(bootstrap, topic, range(5), partition=0)
        log = await run.open_log()
        try:
            subscription = await log.subscribe(port.EVENTS, "shop/orders/warehouse", _Nobody())
            await subscription.close()
        finally:
            await log.close()
        produce(bootstrap, topic, range(5, 10), partition=0)
        await grow(bootstrap, topic, 3)
        produce(bootstrap, topic, range(10, 15), partition=2)
        assert (await run.drained()).read == 10
        assert await run.rows(IDS) == ids(range(5, 15))


class _Nobody:
    async def on_assigned(self, commits: object) -> None: ...

    async def on_revoked(self, partitions: object) -> None: ...


async def test_a_time_is_that_of_the_records(kafka_server, tmp_path):
    """Catches the time of the brokers, seconds for milliseconds, and a partition without later records that is read whole."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=2, retention_ms="-1")
    begin = 1_763_700_000_000
    produce(bootstrap, topic, range(5), partition=0, timestamp=begin - 1)
    produce(bootstrap, topic, range(5, 10), partition=0, timestamp=begin)
    produce(bootstrap, topic, range(10, 15), partition=1, timestamp=begin - 60_000)
    told = {"startFrom": {"type": "Time", "time": "2025-11-21T04:40:00Z"}}
    async with source_run.SourceRun(tmp_path, kafka_source.pipeline(bootstrap, [topic], source=told)).opened() as run:
        assert (await run.drained()).read == 5
        assert await run.rows(IDS) == ids(range(5, 10))


async def test_uncommitted_records_are_read_where_that_is_asked_for(kafka_server, tmp_path):
    """Catches an isolation that nobody passes on."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=1)
    kafka_source.transaction(bootstrap, topic, map(kafka_source.order, range(5)), commit=False)
    produce(bootstrap, topic, range(5, 8))
    text = kafka_source.pipeline(bootstrap, [topic], source={"isolation": "ReadUncommitted"})
    async with source_run.SourceRun(tmp_path, text).opened() as run:
        assert (await run.drained()).written == 8
        assert await run.rows(IDS) == ids(range(8))


async def test_what_compaction_has_taken_is_no_gap(kafka_server, tmp_path):
    """Catches a lane that halts, or waits for ever, at offsets that are not there any more."""
    bootstrap = kafka_server.bootstrap
    told = {"segment_ms": "100", "min_cleanable_dirty_ratio": "0.001", "max_compaction_lag_ms": "100"}
    topic = kafka_sink.make_topic(bootstrap, partitions=1, cleanup_policy="compact", **told)
    for key in ("a", "b", "a"):
        produce(bootstrap, topic, range(100), key=key)
    fillers = iter(range(1_000, 1_600))

    def is_compacted() -> bool:
        # A segment is compacted once another one has been begun.
        produce(bootstrap, topic, [next(fillers)], key="c")
        return len(offsets(bootstrap, topic)) < 200

    while not await asyncio.to_thread(is_compacted):  # noqa: ASYNC110 - the broker does not say so; bounded by the fillers
        await asyncio.sleep(0.1)
    async with source_run.SourceRun(tmp_path, kafka_source.pipeline(bootstrap, [topic])).opened() as run:
        done = await run.drained()
        assert (done.lost, done.dead_lettered_events) == (0, 0)
        landed = await run.rows("SELECT CAST(split_part(place, '/', 2) AS BIGINT) FROM orders ORDER BY ALL")
        # It may have gone on meanwhile, and taken more.
        assert {at for (at,) in landed} >= set(offsets(bootstrap, topic))
        assert done.written == len(landed) < 200


def offsets(bootstrap: str, topic: str) -> list[int]:
    """Those that are still there."""
    told = {"bootstrap.servers": bootstrap, "group.id": "looker", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = confluent_kafka.Consumer(told)
    try:
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        found: list[int] = []
        while message := consumer.poll(20.0):
            if message.error():
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
                return found
            found.append(message.offset())
        raise TimeoutError(f"{len(found)} records, and no end")
    finally:
        consumer.close()


async def test_the_time_that_the_broker_stamps_bounds_the_window(kafka_server, tmp_path):
    """Catches a window by the producers' times, which say what they like, and one that never ends."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=1, message_timestamp_type="LogAppendTime")
    text = kafka_source.pipeline(bootstrap, [topic], deduplicate={"key": ["id"], "windowSeconds": 1})
    produce(bootstrap, topic, [0, 0], timestamp=1)
    first = stamp_of(bootstrap, topic, 0)
    at = 1
    while stamp_of(bootstrap, topic, at) < first + 2_500:
        produce(bootstrap, topic, [100 + at], timestamp=1)
        at += 1
        await asyncio.sleep(0.1)
    produce(bootstrap, topic, [0], timestamp=1)
    async with source_run.SourceRun(tmp_path, text).opened() as run:
        done = await run.drained()
        assert (done.read, done.duplicates) == (at + 2, 1)
        assert await run.rows("SELECT count(*) FROM orders WHERE id = 'o0'") == [(2,)]


def stamp_of(bootstrap: str, topic: str, offset: int) -> int:
    """The stamp of a record, in milliseconds."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "looker", "enable.auto.commit": False})
    try:
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, offset)])
        message = consumer.poll(20.0)
        assert message is not None
        assert message.offset() == offset
        return int(message.timestamp()[1])
    finally:
        consumer.close()


async def test_a_broker_that_is_started_again_is_read_on(kafka_server, tmp_path):
    """Catches connections that are never made again, and records that land twice after it."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=2)
    async with source_run.SourceRun(tmp_path, kafka_source.pipeline(bootstrap, [topic])).opened() as run:
        produce(bootstrap, topic, range(100))
        async with run.lane() as lane:
            await lane_run.until(lambda: lane.accounts.totals().written == 100, 60.0)
            try:
                await asyncio.to_thread(kafka_server.broker.kill)
            finally:
                await asyncio.to_thread(kafka_server.broker.start)
            await asyncio.to_thread(produce, bootstrap, topic, range(100, 200))
            await lane_run.until(lambda: lane.accounts.totals().written >= 200 or lane.failure is not None, 90.0)
            assert lane.failure is None
        assert await run.rows(IDS) == ids(range(200))


MIB = 1 << 20


@pytest.mark.parametrize("own", ["Embedded", "Kafka"])
async def test_a_huge_record_costs_its_neighbours_nothing(kafka_server, tmp_path, own):
    """One that lands, and one that can't be read and is larger than a record of our own log may be.

    Catches a lane that halts at its letter, one that never sees the end of such a record, and neighbours that wait behind it.
    """
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=1, max_message_bytes=str(24 * MIB))
    log = {"type": "Kafka", "kafka": {"bootstrapServers": [bootstrap], "replicationFactor": 1}}
    text = kafka_source.pipeline(bootstrap, [topic], log=log if own == "Kafka" else None)
    text = text.replace("name: orders", f"name: o{uuid.uuid4().hex[:12]}", 1)
    huge = kafka_source.order(1, more="x" * (9 * MIB))
    kafka_source.produce(bootstrap, topic, [kafka_source.order(0), huge, b"{" * (10 * MIB), kafka_source.order(2)])
    async with source_run.SourceRun(tmp_path, text).opened() as run:
        done = await run.drained()
        assert (done.read, done.written, done.dead_lettered_events) == (4, 3, 1)
        assert await run.rows(IDS) == ids(range(3))
        (letter,) = await run.letters()
        assert (letter.record.offset, letter.category.value) == (2, "Malformed")
        assert f"{topic}/0/2" in letter.message


async def test_a_letter_of_a_huge_record_is_replayed_while_the_topic_has_the_record(kafka_server, tmp_path):
    """Catches a letter without bytes that is replayed as an empty event, one whose key is lost, a record put back in place of one
    that has left the topic, and a replay that never ends because of it."""
    bootstrap = kafka_server.bootstrap
    topic = kafka_sink.make_topic(bootstrap, partitions=1, max_message_bytes=str(24 * MIB))
    fields = [{"name": "id", "type": "String", "required": True}, {"name": "more", "type": "String"}]
    select = [{"name": "id"}, {"name": "key", "value": "decode(kafka_key)"}]

    def reading(value: str) -> source_run.SourceRun:
        transform = {"select": [*select, {"name": "number", "value": value}]}
        described = {"schema": {"fields": fields}, "transform": transform}
        return source_run.SourceRun(tmp_path, kafka_source.pipeline(bootstrap, [topic], **described))

    huge = [kafka_source.order(number, more="x" * (8 * MIB)) for number in range(2)]
    kafka_source.produce(bootstrap, topic, [*huge, kafka_source.order(2, more="4")], key=b"k")
    async with reading("CAST(more AS BIGINT)").opened() as run:
        assert (await run.drained()).dead_lettered_rows == 2
    client = kafka_client.Client(kafka_settings.Settings(bootstrap=bootstrap, prefix="test", partitions=1))
    await client.open()
    await client.delete_below(topic, 0, 1)
    await client.close()
    async with reading("length(more)").opened() as run, run.lane() as lane:
        order = survey.Order(filters=selection.Filters(), lanes=frozenset({lane.settings.lane}))
        told = [done async for done in job.Jobs(run.log).replay(order, wait_seconds=120.0)]
        done = told[-1]
        assert (done.published, done.landed, done.failed_again) == (2, 1, 1)
        assert await run.rows("SELECT * FROM orders ORDER BY ALL") == [("o1", "k", 8 * MIB), ("o2", "k", 4)]
        assert lane.replay_log.accounts.totals().unexplained() == 0
    letters = [letter for letter in await run.letters() if letter.attempt == 2]
    assert [(letter.code, letter.record.offset, letter.record.apart) for letter in letters] == [("RecordGone", 0, True)]


async def test_how_much_of_the_retention_is_used_up_is_known(kafka_server, tmp_path):
    """Catches an age that is not the records', a size that is not the partition's, and settings read at the start only."""
    bootstrap = kafka_server.bootstrap
    now = int(time.time() * 1_000)
    topic = kafka_sink.make_topic(bootstrap, partitions=2, retention_ms="7200000", retention_bytes="-1")
    produce(bootstrap, topic, range(10), partition=1, timestamp=now - 3_600_000)
    async with source_run.SourceRun(tmp_path, kafka_source.pipeline(bootstrap, [topic])).opened() as run:
        log = await run.open_log()
        try:
            assert 0.49 < await log.retention_used({0: 0, 1: 0}) < expiry.NEAR
            assert await log.retention_used({0: 0, 1: 10}) == 0.0
            await asyncio.to_thread(alter, bootstrap, topic, {"retention.ms": "-1", "retention.bytes": "100"})
            assert await log.retention_used({0: 0, 1: 0}) > expiry.NEAR
        finally:
            await log.close()


def alter(bootstrap: str, topic: str, told: dict[str, str]) -> None:
    entries = [admin.ConfigEntry(name, value, incremental_operation=admin.AlterConfigOpType.SET) for name, value in told.items()]
    wanted = admin.ConfigResource(admin.ResourceType.TOPIC, topic, incremental_configs=entries)
    client = admin.AdminClient({"bootstrap.servers": bootstrap})
    for done in client.incremental_alter_configs([wanted]).values():
        done.result(20.0)


async def test_brokers_and_a_registry_behind_tls_are_read_with_what_the_secrets_say(kafka_server, tmp_path):
    """Catches a password or an authority that nobody passes on, of the brokers or of the registry."""
    topic = kafka_sink.make_topic(kafka_server.bootstrap, partitions=1)
    authority = {"caSecretRef": {"name": "ca", "key": "ca.crt"}}
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(kafka.CERTIFICATES / "first.crt", kafka.CERTIFICATES / "first.key")
    async with registry_stub.Registry().serving(tls) as registry:
        registry.login = ("reader", "open sesame")
        registry.schemas.append(json.dumps(avro.FIRST))
        values = [avro.framed(100, avro.FIRST, avro.order(number)) for number in range(5)]
        kafka_source.produce(kafka_server.bootstrap, topic, values)
        reference = {"name": "kafka", "key": "password"}
        told = {
            "authentication": {"type": "ScramSha512", "username": kafka.USER, "passwordSecretRef": reference},
            "tls": authority,
            "format": {
                "type": "Avro",
                "registry": {
                    "url": registry.url,
                    "authentication": {"type": "Basic", "secretRef": {"name": "registry"}},
                    "tls": authority,
                },
            },
        }
        environment = {
            "PENSTOCK_SECRET_CA_CA_CRT": kafka.AUTHORITY.read_text(),
            "PENSTOCK_SECRET_KAFKA_PASSWORD": kafka.PASSWORD,
            "PENSTOCK_SECRET_REGISTRY_USERNAME": "reader",
            "PENSTOCK_SECRET_REGISTRY_PASSWORD": "open sesame",
        }
        text = kafka_source.pipeline(kafka_server.secure, [topic], source=told)
        async with source_run.SourceRun(tmp_path, text, environment).opened() as run:
            assert (await run.drained()).written == 5
            assert await run.rows(IDS) == ids(range(5))
