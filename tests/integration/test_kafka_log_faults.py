"""The log over Kafka while its broker is killed, stopped and away."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import types
import uuid
from collections.abc import AsyncIterator

import pytest
from aiokafka import admin
from tests.integration.test_kafka_log import LONG_SECONDS, Member, record, until

from penstock.log import port
from penstock.log.kafka import front
from penstock.log.kafka import settings as kafka_settings

SHORT = kafka_settings.Patience(request=3.0, delivery=4.0, progress=4.0, session=6.0, heartbeat=1.0, close=3.0)


@pytest.fixture
def settings(kafka_server):
    return kafka_settings.Settings(
        bootstrap=kafka_server.bootstrap, prefix=uuid.uuid4().hex, partitions=1, replication=1, min_in_sync=1, patience=SHORT
    )


@pytest.fixture
async def log(settings):
    opened = await front.KafkaLog.open(settings)
    yield opened
    await opened.close()


@contextlib.asynccontextmanager
async def running_again(broker) -> AsyncIterator[None]:
    """Whatever happens to it here, the next test finds it running."""
    try:
        yield
    finally:
        broker.resume()
        if not broker.running:
            await asyncio.to_thread(broker.start)


async def append_until_known(log: port.EventLog, sequence: int) -> None:
    """As ingest does: the same record until its outcome is known."""
    async with asyncio.timeout(LONG_SECONDS):
        while True:
            try:
                await log.append(port.EVENTS, 0, record(sequence))
            except port.LogError:
                await asyncio.sleep(0.1)
            else:
                return


async def append_all(log: port.EventLog, count: int, done: list[int]) -> None:
    for sequence in range(count):
        await append_until_known(log, sequence)
        done.append(sequence)


async def read_all(member: Member) -> None:
    """As a lane that is run again after trouble."""
    while True:
        with contextlib.suppress(port.LogError):
            await member.run()
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("gentle", [True, False], ids=["stopped", "killed"])
async def test_a_broker_that_comes_back_finds_appends_and_polls_going_on(log, kafka_server, gentle):
    """Catches a producer or a consumer that is silent for good, a record twice or lost, and a wait without end."""
    member, done = Member(), []
    member.subscription = await log.subscribe(port.EVENTS, "lane", member)
    tasks = [asyncio.create_task(append_all(log, 200, done)), asyncio.create_task(read_all(member))]
    await until(lambda: len(member.read) > 20)
    async with running_again(kafka_server.broker):
        await asyncio.to_thread(kafka_server.broker.stop if gentle else kafka_server.broker.kill)
        async with asyncio.timeout(LONG_SECONDS):
            asked = log.append(port.DEAD_LETTERS, 0, record(0)), log.bounds(port.EVENTS, 0)
            answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [(type(answer), "Kafka" in str(answer)) for answer in answers] == [(port.LogUnavailableError, True)] * 2
    await until(lambda: len(done) == 200)
    found = [item.sequence for item in await log.read(port.EVENTS, 0, 0, max_bytes=1 << 20)]
    await until(lambda: {offset for _, offset in member.read} == set(range(len(found))))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert found == list(range(200))


async def test_a_broker_that_answers_nothing_is_not_waited_for(log, kafka_server):
    """Catches a wait without an end on a connection that is open, and a record that is lost when the broker wakes."""
    await log.append(port.EVENTS, 0, record(0))
    async with running_again(kafka_server.broker):
        kafka_server.broker.suspend()
        async with asyncio.timeout(LONG_SECONDS):
            with pytest.raises(port.LogError, match="Kafka"):
                await log.append(port.EVENTS, 0, record(1))
        kafka_server.broker.resume()
        await append_until_known(log, 1)
        await append_until_known(log, 2)
    async with asyncio.timeout(LONG_SECONDS):
        found = [item.sequence for item in await log.read(port.EVENTS, 0, 0, max_bytes=1 << 20)]
    # What the broker had received before it was suspended may land beside its re-send; readers know it by its sequence.
    assert list(dict.fromkeys(found)) == [0, 1, 2]


async def test_a_log_whose_brokers_are_away_does_not_open(settings):
    """Catches a start that hangs."""
    async with asyncio.timeout(LONG_SECONDS):
        with pytest.raises(port.LogError, match="Kafka"):
            await front.KafkaLog.open(dataclasses.replace(settings, bootstrap="127.0.0.1:1"))


async def test_a_topic_that_a_broker_has_not_heard_of_yet_is_asked_for_again(settings, monkeypatch):
    """Catches a process that ends at its start because another one had made the topics a moment before."""
    ask, unknown = admin.AIOKafkaAdminClient.describe_configs, [3, 3]

    async def answers(client, resources):
        found = await ask(client, resources)
        if not unknown:
            return found
        code = unknown.pop()
        return [types.SimpleNamespace(resources=[(code, "unknown", 2, resources[0].name, [])])]

    monkeypatch.setattr(admin.AIOKafkaAdminClient, "describe_configs", answers)
    async with asyncio.timeout(LONG_SECONDS):
        opened = await front.KafkaLog.open(settings)
        await opened.close()
    assert not unknown


async def test_what_was_trimmed_under_a_reader_is_a_gap(log):
    """Catches a member that goes to the start, or to the end, by itself."""
    for sequence in range(5):
        await log.append(port.EVENTS, 0, record(sequence))
    subscription = await log.subscribe(port.EVENTS, "lane", Member())
    await subscription.commit({0: port.Commit(offset=2)})
    await subscription.close()
    await log.trim(port.EVENTS, 0, 4)
    subscription = await log.subscribe(port.EVENTS, "lane", Member())
    with pytest.raises(port.OffsetOutOfRangeError, match="2"):
        await subscription.poll(max_bytes=100, timeout_seconds=LONG_SECONDS)
    subscription.seek(0, 4)
    [found] = await subscription.poll(max_bytes=100, timeout_seconds=LONG_SECONDS)
    assert found.offset == 4


async def test_a_member_that_falls_silent_is_replaced(log):
    """Catches a consumer that stays in its group and reads no more, as this client's can after its brokers were away."""

    async def silent(timeout_ms):
        await asyncio.sleep(timeout_ms / 1_000)
        return {}

    member = Member()
    subscription = await log.subscribe(port.EVENTS, "lane", member)
    await subscription.poll(max_bytes=100, timeout_seconds=0.0)
    await asyncio.wait({subscription._member.work})
    subscription._member._consumer.getmany = silent
    await log.append(port.EVENTS, 0, record(0))
    [found] = await subscription.poll(max_bytes=100, timeout_seconds=LONG_SECONDS)
    assert (found.sequence, member.lost, member.owned) == (0, [0], {0})
