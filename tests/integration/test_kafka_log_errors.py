"""The log over Kafka when brokers answer with errors: three of them in memory, which fail as they are told."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from aiokafka import errors
from tests.integration.test_kafka_log import LONG_SECONDS, Member, record
from tests.servers import mock_kafka

from penstock.log import port
from penstock.log.kafka import client as kafka_client
from penstock.log.kafka import front, topics
from penstock.log.kafka import settings as kafka_settings

PATIENCE = kafka_settings.Patience(
    request=2.0, delivery=3.0, progress=5.0, session=2.0, heartbeat=0.2, rebalance=3.0, revocation=2.0, close=2.0
)


@pytest.fixture
def cluster():
    with mock_kafka.mock_kafka() as running:
        yield running


@pytest.fixture
def settings(cluster):
    prefix = uuid.uuid4().hex
    for topic in (port.EVENTS, port.DEAD_LETTERS):
        cluster.create(topics.topic_name(prefix, topic), 1)
    return kafka_settings.Settings(bootstrap=cluster.bootstrap, prefix=prefix, partitions=1, patience=PATIENCE)


@pytest.fixture
async def log(settings):
    """Without `open`: this cluster can't be asked how its topics are set."""
    client = kafka_client.Client(settings)
    await client.open()
    opened = front.KafkaLog(settings, client, "mock")
    yield opened
    await opened.close()


async def append_until_known(log: port.EventLog, sequence: int) -> port.Appended:
    """As ingest does."""
    async with asyncio.timeout(LONG_SECONDS):
        while True:
            try:
                return await log.append(port.EVENTS, 0, record(sequence))
            except port.LogUnavailableError:
                await asyncio.sleep(0.05)


async def sequences(log: port.EventLog) -> list[int]:
    return [item.sequence for item in await log.read(port.EVENTS, 0, 0, max_bytes=1 << 20)]


@pytest.mark.parametrize(
    "kinds",
    [
        [errors.OutOfOrderSequenceNumber],
        [errors.NotEnoughReplicasError, errors.NotEnoughReplicasAfterAppendError],
        [errors.RequestTimedOutError] * 2,
        [errors.NotLeaderForPartitionError, errors.LeaderNotAvailableError],
        [errors.DuplicateSequenceNumber],
        [errors.TopicAuthorizationFailedError],
    ],
    ids=lambda kinds: kinds[0].__name__,
)
async def test_an_append_that_brokers_refuse_lands_once(log, cluster, kinds):
    """Catches a producer that an error has broken for good, an error taken for success, and a re-send beside what landed."""
    await append_until_known(log, 0)
    cluster.fail_next(mock_kafka.Api.PRODUCE, [kind.errno for kind in kinds])
    appended = [await append_until_known(log, sequence) for sequence in (1, 2, 3)]
    assert await sequences(log) == [0, 1, 2, 3]
    assert [item.offset for item in appended] == [1, 2, 3]


async def test_appends_under_way_together_all_land_once_when_one_of_them_breaks_the_producer(log, cluster):
    """Catches neighbours of a broken append that wait for their whole patience, are lost, or land twice."""
    cluster.fail_next(mock_kafka.Api.PRODUCE, [errors.OutOfOrderSequenceNumber.errno])

    async def one(producer: str) -> port.Appended:
        for _ in range(100):
            try:
                return await log.append(port.EVENTS, 0, record(0, producer=producer))
            except port.LogUnavailableError:
                await asyncio.sleep(0.05)
        raise AssertionError

    appended = await asyncio.gather(*(one(f"p{number}") for number in range(20)))
    assert sorted(item.offset for item in appended) == list(range(20))
    assert len(await sequences(log)) == 20


async def test_a_leader_that_moves_takes_the_appends_and_the_reader_with_it(log, cluster, settings):
    """Catches a connection that stays with the broker that led once."""
    member = Member()
    subscription = await log.subscribe(port.EVENTS, "lane", member)
    seen: list[int] = []
    for sequence in range(6):
        cluster.lead(topics.topic_name(settings.prefix, port.EVENTS), 0, 1 + sequence % 3)
        await append_until_known(log, sequence)
        async with asyncio.timeout(LONG_SECONDS):
            while len(seen) <= sequence:
                seen += [item.sequence for item in await subscription.poll(max_bytes=100, timeout_seconds=1.0)]
    assert seen == await sequences(log) == list(range(6))


@pytest.mark.parametrize(
    "kind",
    [errors.NotCoordinatorForGroupError, errors.GroupLoadInProgressError, errors.GroupCoordinatorNotAvailableError],
    ids=lambda kind: kind.__name__,
)
async def test_commits_survive_a_coordinator_that_moves(log, cluster, settings, kind):
    """Catches "not here" taken for "never committed", after which a lane would begin at the log's start or end again."""
    member = Member()
    subscription = await log.subscribe(port.EVENTS, "lane", member)
    await append_until_known(log, 0)
    await subscription.poll(max_bytes=100, timeout_seconds=LONG_SECONDS)
    cluster.coordinate(topics.group_name(settings.prefix, "lane", port.EVENTS), 2)
    cluster.fail_next(mock_kafka.Api.OFFSET_COMMIT, [kind.errno] * 2)
    await subscription.commit({0: port.Commit(offset=1, metadata="plan")})
    cluster.fail_next(mock_kafka.Api.OFFSET_FETCH, [kind.errno] * 2)
    assert await log.committed(port.EVENTS, "lane") == {0: port.Commit(offset=1, metadata="plan")}


@pytest.mark.parametrize(
    "kind",
    [errors.IllegalGenerationError, errors.UnknownMemberIdError, errors.RebalanceInProgressError],
    ids=lambda kind: kind.__name__,
)
async def test_a_commit_that_the_group_refuses_says_so(log, cluster, kind):
    """Catches a loss taken for an outage, which would be tried again in a generation that isn't the lane's."""
    subscription = await log.subscribe(port.EVENTS, "lane", Member())
    cluster.fail_next(mock_kafka.Api.OFFSET_COMMIT, [kind.errno])
    with pytest.raises(port.PartitionLostError):
        await subscription.commit({0: port.Commit(offset=0)})
    assert await log.committed(port.EVENTS, "lane") == {}


async def test_a_member_that_was_expelled_tells_its_loss_before_it_goes_on(log, cluster):
    """Catches a lane that keeps what it was about to finish though somebody else may have finished it."""
    member = Member()
    subscription = await log.subscribe(port.EVENTS, "lane", member)
    await subscription.poll(max_bytes=100, timeout_seconds=0.0)
    cluster.fail_next(mock_kafka.Api.HEARTBEAT, [errors.UnknownMemberIdError.errno])
    async with asyncio.timeout(LONG_SECONDS):
        while not (member.lost and member.owned):
            await subscription.poll(max_bytes=100, timeout_seconds=0.5)
    assert (member.lost, member.owned) == ([0], {0})
    await append_until_known(log, 0)
    [found] = await subscription.poll(max_bytes=100, timeout_seconds=LONG_SECONDS)
    await subscription.commit({0: port.Commit(offset=found.offset + 1)})


async def test_a_lane_that_slept_through_rebalances_commits_nothing_though_the_partition_is_its_own_again(log, cluster):
    """Catches a commit in the generation of the moment, which moves the position of whoever owned the partition between."""
    member = Member()
    subscription = await log.subscribe(port.EVENTS, "lane", member)
    await subscription.poll(max_bytes=100, timeout_seconds=0.0)
    before = subscription._member.assignment
    cluster.fail_next(mock_kafka.Api.HEARTBEAT, [errors.UnknownMemberIdError.errno])
    async with asyncio.timeout(LONG_SECONDS):
        while subscription._member.assignment in (None, before):  # noqa: ASYNC110 - nobody polls, so nobody tells
            await asyncio.sleep(0.05)
    with pytest.raises(port.PartitionLostError):
        await subscription.commit({0: port.Commit(offset=0)})
    await subscription.poll(max_bytes=100, timeout_seconds=0.0)
    assert (member.lost, member.owned) == ([0], {0})
    await subscription.commit({0: port.Commit(offset=0)})


async def test_an_append_that_is_cancelled_goes_on_and_its_re_send_gets_the_answer(log):
    """Catches a cancelled request that leaves a block behind which the next try appends again."""
    first = asyncio.create_task(log.append(port.EVENTS, 0, record(0)))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    again = await append_until_known(log, 0)
    assert (again.offset, again.resent) == (0, True)
    assert await sequences(log) == [0]


async def test_an_assignment_that_was_half_told_is_taken_back_and_told_again(log):
    """Catches a lane without its positions, after the poll that told them was cancelled or failed."""

    class Failing(Member):
        calls = 0

        async def on_assigned(self, commits):
            self.calls += 1
            if self.calls == 1:
                raise port.LogUnavailableError("away")
            await super().on_assigned(commits)

    member = Failing()
    subscription = await log.subscribe(port.EVENTS, "lane", member)
    await append_until_known(log, 0)
    with pytest.raises(port.LogUnavailableError):
        await subscription.poll(max_bytes=100, timeout_seconds=LONG_SECONDS)
    [found] = await subscription.poll(max_bytes=100, timeout_seconds=LONG_SECONDS)
    assert (found.offset, member.lost, member.owned) == (0, [0], {0})
