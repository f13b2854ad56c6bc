"""What only the log over Kafka can get wrong, on a real broker: rebalances, topics somebody set otherwise, secure listeners."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Mapping, Sequence

import aiokafka
import confluent_kafka
import pytest
from aiokafka import admin, helpers
from aiokafka.record import util
from tests.servers import kafka

from penstock.log import port
from penstock.log.kafka import front, topics
from penstock.log.kafka import settings as kafka_settings

PARTITIONS = 4
LONG_SECONDS = 60.0


@pytest.fixture
def settings(kafka_server):
    return kafka_settings.Settings(
        bootstrap=kafka_server.bootstrap, prefix=uuid.uuid4().hex, partitions=PARTITIONS, replication=1, min_in_sync=1
    )


@pytest.fixture
async def log(settings):
    opened = await front.KafkaLog.open(settings)
    yield opened
    await opened.close()


def record(sequence: int, producer: str = "p", value: bytes = b"value") -> port.NewRecord:
    return port.NewRecord(value=value, headers={}, producer=producer, sequence=sequence)


class Member:
    """Reads and commits as a lane does, in one task, and remembers what it owned."""

    def __init__(self) -> None:
        self.owned: set[int] = set()
        self.lost: list[int] = []
        self.read: list[tuple[int, int]] = []
        self.subscription: port.Subscription
        self._unfinished: dict[int, port.Commit] = {}

    async def on_assigned(self, commits: Mapping[int, port.Commit | None]) -> None:
        self.owned = set(commits)

    async def on_revoked(self, partitions: Sequence[int]) -> None:
        await self.commit()
        self.owned -= set(partitions)
        self.lost += partitions

    async def run(self) -> None:
        while True:
            for item in await self.subscription.poll(max_bytes=200, timeout_seconds=0.5):
                assert item.partition in self.owned
                self.read.append((item.partition, item.offset))
                self._unfinished[item.partition] = port.Commit(offset=item.offset + 1)

    async def commit(self) -> None:
        commits, self._unfinished = self._unfinished, {}
        if commits:
            await self.subscription.commit(commits)


async def until(condition) -> None:
    deadline = asyncio.get_running_loop().time() + LONG_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.02)


async def test_a_second_member_takes_half_and_nothing_is_read_twice(log, settings):
    """Catches a revocation that the lane hears of too late to commit, and partitions two members read at once."""
    for partition in range(PARTITIONS):
        for sequence in range(50):
            await log.append(port.EVENTS, partition, record(sequence))
    first, second = Member(), Member()
    first.subscription = await log.subscribe(port.EVENTS, "lane", first)
    tasks = [asyncio.create_task(first.run())]
    await until(lambda: first.read)
    other = await front.KafkaLog.open(settings)
    second.subscription = await other.subscribe(port.EVENTS, "lane", second)
    tasks.append(asyncio.create_task(second.run()))
    await until(lambda: len(first.owned) == len(second.owned) == PARTITIONS // 2)
    for partition in range(PARTITIONS):
        await log.append(port.EVENTS, partition, record(50))
    await until(lambda: len(set(first.read + second.read)) == PARTITIONS * 51)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(first.read + second.read) == PARTITIONS * 51
    assert first.lost
    # A member that leaves hands over at once.
    await first.subscription.close()
    task = asyncio.create_task(second.run())
    await until(lambda: len(second.owned) == PARTITIONS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await other.close()


async def test_a_commit_for_a_partition_that_somebody_else_owns_is_refused(log, settings):
    """Catches a lane that was away, comes back, and moves its successor's position."""
    first = Member()
    first.subscription = await log.subscribe(port.EVENTS, "lane", first)
    await first.subscription.poll(max_bytes=1, timeout_seconds=0.0)
    hasty = dataclasses.replace(settings, patience=dataclasses.replace(settings.patience, revocation=0.1))
    slow = await front.KafkaLog.open(hasty)
    await first.subscription.close()
    second = Member()
    second.subscription = await slow.subscribe(port.EVENTS, "lane", second)
    await second.subscription.poll(max_bytes=1, timeout_seconds=0.0)
    third = Member()
    third.subscription = await log.subscribe(port.EVENTS, "lane", third)
    task = asyncio.create_task(third.run())
    await until(lambda: len(third.owned) == PARTITIONS // 2)
    with pytest.raises(port.PartitionLostError):
        await second.subscription.commit({number: port.Commit(offset=1) for number in range(PARTITIONS)})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await slow.close()


async def test_a_re_send_is_recognised_and_a_gap_refused(log):
    """Catches a retry that is written twice, and a sequence that leaves one out."""
    first = await log.append(port.EVENTS, 0, record(0))
    again = await log.append(port.EVENTS, 0, record(0))
    assert (again.resent, again.offset) == (True, first.offset)
    with pytest.raises(port.LogError, match="1 was expected"):
        await log.append(port.EVENTS, 0, record(2))
    assert (await log.bounds(port.EVENTS, 0)).end == 1


async def test_around_records_of_others_everything_is_told(log, settings):
    """Catches a healthy record that can't be read for the one behind it, a damaged one that is passed in silence, a way back
    through the log that ends at one, and a re-send that is not found for one."""
    sent = [await log.append(port.EVENTS, 0, record(sequence)) for sequence in range(3)]
    stranger = confluent_kafka.Producer({"bootstrap.servers": settings.bootstrap})
    for _ in range(4):
        stranger.produce(topics.topic_name(settings.prefix, port.EVENTS), b"?", partition=0)
    assert await asyncio.to_thread(stranger.flush, LONG_SECONDS) == 0
    other = await front.KafkaLog.open(settings)
    sent.append(await other.append(port.EVENTS, 0, record(0, "q")))
    await other.close()
    assert [one.offset for one in sent] == [0, 1, 2, 7]

    assert [one.offset for one in await log.read(port.EVENTS, 0, 1, max_bytes=1 << 20)] == [1, 2]
    for offset in (3, 6):
        with pytest.raises(port.DamagedLogError, match=f"at {offset} has no producer"):
            await log.read(port.EVENTS, 0, offset, max_bytes=1 << 20)
    assert [one.offset for one in await log.read(port.EVENTS, 0, 7, max_bytes=1)] == [7]
    assert [one.offset for one in await log.headers(port.EVENTS, 0, 8, limit=6)] == [7, 2]
    assert [one.offset for one in await log.headers(port.EVENTS, 0, 7, limit=2)] == [2, 1]
    found = await log._look(topics.topic_name(settings.prefix, port.EVENTS), 0, 2, record(0, "q"))
    assert found == port.Appended(offset=7, append_time_microseconds=sent[-1].append_time_microseconds)

    member = Member()
    member.subscription = await log.subscribe(port.EVENTS, "lane", member)
    with pytest.raises(port.DamagedLogError, match="at 3 has no producer"):
        await member.run()
    assert member.read == [(0, 0), (0, 1), (0, 2)]
    await member.subscription.close()


async def test_a_header_that_the_client_cannot_read_does_not_hide_what_stands_before_it(log, settings):
    """Catches a member that is made anew for ever because of one record, and healthy records that nobody is given."""
    for sequence in range(3):
        await log.append(port.EVENTS, 0, record(sequence))
    await log.append(port.EVENTS, 1, record(0))
    await _unreadable(settings.bootstrap, topics.topic_name(settings.prefix, port.EVENTS))
    member = Member()
    member.subscription = await log.subscribe(port.EVENTS, "lane", member)
    with pytest.raises(port.DamagedLogError, match="the records from 3 to 3 can't be taken apart"):
        await member.run()
    assert [one for one in member.read if one[0] == 0] == [(0, 0), (0, 1), (0, 2)]
    await member.subscription.close()


async def _unreadable(bootstrap: str, name: str) -> None:
    """In partition 0: a record with a header whose name is not UTF-8, which brokers don't look at."""
    async with aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        batch = producer.create_batch()
        batch.append(key=None, value=b"?", timestamp=None, headers=[("name", b"")])
        batch.close()
        made = bytearray(bytes(batch._build()).replace(b"name", b"\xff\xfe\xfd\xfc"))
        made[17:21] = util.calc_crc32c(bytes(made[21:])).to_bytes(4, "big")
        batch._buffer = made
        await (await producer.send_batch(batch, name, partition=0))


async def test_metadata_over_the_limit_is_refused_and_the_last_commit_stands(log):
    """Catches a plan that the broker refuses after the write it belongs to has left."""
    member = Member()
    subscription = await log.subscribe(port.EVENTS, "lane", member)
    await subscription.commit({0: port.Commit(offset=0, metadata="plan")})
    with pytest.raises(port.LogError, match="3502 bytes"):
        await subscription.commit({0: port.Commit(offset=0, metadata="é" * 1_751)})
    assert await log.committed(port.EVENTS, "lane") == {0: port.Commit(offset=0, metadata="plan")}


async def test_a_log_made_again_has_another_id(log, settings):
    """Catches an id made of the name: offsets begin again, and landed ranges would be taken for those of before."""
    client = admin.AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await client.start()
    name = topics.topic_name(settings.prefix, port.EVENTS)
    await client.delete_topics([name])
    for _ in range(int(LONG_SECONDS / 0.05)):
        if name not in await client.list_topics():
            break
        await asyncio.sleep(0.05)
    await client.close()
    again = await front.KafkaLog.open(settings)
    assert again.log_id != log.log_id
    await again.close()


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ({"retention.ms": "1000"}, "retention.ms is 1000.*add-config.*retention.ms=-1"),
        ({"message.timestamp.type": "CreateTime"}, "message.timestamp.type is CreateTime"),
        ({"max.message.bytes": "1000000"}, "max.message.bytes is 1000000"),
        ({"cleanup.policy": "compact"}, "cleanup.policy is compact"),
    ],
    ids=str,
)
async def test_a_topic_that_would_lose_events_is_refused(settings, configs, message):
    """Catches a topic of somebody else's making that deletes what no lane has read."""
    name = topics.topic_name(settings.prefix, port.EVENTS)
    client = admin.AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await client.start()
    await client.create_topics([admin.NewTopic(name, PARTITIONS, 1, topic_configs={**topics.wanted(settings), **configs})])
    await client.close()
    with pytest.raises(topics.TopicMisconfiguredError, match=message):
        await front.KafkaLog.open(settings)


async def test_another_number_of_partitions_is_refused(log, settings):
    """Catches keys that move to another partition and lose their duplicates."""
    with pytest.raises(port.LogError, match="has 4 partitions, 3 are asked for"):
        await front.KafkaLog.open(dataclasses.replace(settings, partitions=3))


async def test_a_full_log_refuses_events_and_takes_dead_letters(settings):
    """Catches a bound that stops the lanes, which alone can make room."""
    log = await front.KafkaLog.open(dataclasses.replace(settings, max_bytes=100_000))
    for sequence in range(3):
        await log.append(port.EVENTS, 0, record(sequence, value=b"x" * 30_000))
    with pytest.raises(port.LogFullError, match=r"retention\.maxBytes"):
        await log.append(port.EVENTS, 0, record(3, value=b"x" * 30_000))
    await log.append(port.DEAD_LETTERS, 0, record(0, value=b"x" * 200_000))
    await log.close()


@pytest.mark.parametrize("mechanism", [kafka_settings.Mechanism.PLAIN, kafka_settings.Mechanism.SCRAM_SHA_512], ids=str)
async def test_the_log_works_over_tls_with_a_password(kafka_server, settings, mechanism):
    """Catches a connection of the several that forgets its password."""
    security = kafka_settings.Security(
        tls=helpers.create_ssl_context(cafile=str(kafka.AUTHORITY)),
        login=kafka_settings.Login(mechanism=mechanism, user=kafka.USER, password=kafka.PASSWORD),
    )
    log = await front.KafkaLog.open(dataclasses.replace(settings, bootstrap=kafka_server.secure, security=security))
    await log.append(port.EVENTS, 0, record(0))
    subscription = await log.subscribe(port.EVENTS, "lane", Member())
    [found] = await subscription.poll(max_bytes=100, timeout_seconds=LONG_SECONDS)
    assert found.value == b"value"
    await log.close()
    assert kafka.PASSWORD not in repr(security)
