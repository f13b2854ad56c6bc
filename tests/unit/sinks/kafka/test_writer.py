"""What a write answers when parts of it fail, with a producer that fails as it is told."""

import asyncio

import pyarrow as pa
import pytest
from aiokafka import errors

from penstock.core import addresses, delivery, results
from penstock.sinks import port, tables
from penstock.sinks.kafka import brokers, compress, partitioner, rows, writer
from penstock.wire import sink as wire

TOPIC = brokers.Topic(partitions=2, replicas=3, min_in_sync=2, max_bytes=1 << 20, compacted=False)
KEYS = [f"k{number % 10}" for number in range(200)]


class Producer:
    """Takes batches in; `fails` says which, by partition and how many of it came before."""

    def __init__(self, fails):
        self.fails, self.sent, self.replaced = fails, [], 0

    async def session(self):
        return "session"

    async def partitions(self, session, topic):
        return TOPIC.partitions

    async def send(self, session, topic, batch):
        before = sum(one.partition == batch.partition for one in self.sent)
        self.sent.append(batch)
        await asyncio.sleep(0)
        if error := self.fails(batch.partition, before):
            raise error

    async def replace(self, session):
        self.replaced += 1

    async def close(self): ...


async def written(fails):
    """(the answer, the rows whose send was tried by partition, how often the producer was replaced)"""
    told = writer.Settings(
        at=brokers.Brokers(bootstrap=["nowhere:1"]),
        format=rows.Json(),
        layout=rows.Layout(headers=()),
        codec=compress.Codec.NONE,
        batch_bytes=1_024,
        new_topic=brokers.NewTopic(),
        table_policy=tables.TablePolicy.VERIFY,
        timeout_seconds=30.0,
    )
    sink = writer.KafkaWriter(told)
    sink._topics["t"], sink._producer = TOPIC, Producer(fails)
    count = len(KEYS)
    columns = {
        "id": pa.array(range(count)),
        delivery.KEY_COLUMN: pa.array(KEYS),
        delivery.LOG_COLUMN: pa.array(["log"] * count),
        delivery.PARTITION_COLUMN: pa.array([0] * count, pa.int32()),
        delivery.OFFSET_COLUMN: pa.array(range(count), pa.int64()),
        delivery.ORDINAL_COLUMN: pa.array([0] * count, pa.int32()),
        delivery.ITEM_COLUMN: pa.array([0] * count, pa.int32()),
    }
    whole = addresses.Range("log", 0, addresses.Position(0), addresses.Position(count))
    batch = delivery.SinkBatch(
        lane="l", table="t", ranges=[whole], token="", finished_below=(), key_columns=(), rows=pa.table(columns)
    )
    try:
        answer = await sink.write(batch)
        wire.check_result(answer, count)
        return answer, sink._producer
    finally:
        await sink.close()


def nothing(partition, before):
    return None


async def test_a_batch_that_fails_holds_back_its_partition_alone():
    """Catches a later batch that lands before an earlier one of its key, and rows called written that are not."""
    chosen = partitioner.choose(pa.array(KEYS).cast(pa.large_binary()), 2, 0)
    answer, producer = await written(lambda partition, before: TimeoutError() if (partition, before) == (0, 1) else None)
    tried = [one for one in producer.sent if one.partition == 0]
    assert len(tried) == 2
    wanted = [row for row in range(len(KEYS)) if chosen[row] == 1 or row in set(tried[0].rows.tolist())]
    assert [row for part in answer.written_rows for row in range(part.start, part.end)] == wanted
    assert answer.written == len(wanted)
    assert producer.replaced == 1


async def test_all_that_lands_is_one_number_and_the_producer_stays():
    """Catches a producer that is made anew for each write."""
    answer, producer = await written(nothing)
    assert (answer, producer.replaced) == (delivery.WriteResult(written=200), 0)
    assert all(len(one) <= 1_200 for one in producer.sent)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.TopicAuthorizationFailedError("t"), results.ResultClass.CONFIG),
        (errors.NotEnoughReplicasError(), results.ResultClass.OUTAGE),
        (errors.MessageSizeTooLargeError(), results.ResultClass.DATA),
        (AssertionError("what nobody foresaw"), results.ResultClass.UNCLASSIFIED),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_nothing_written_is_the_failure_itself(error, expected):
    """Catches a failure that hides behind an empty answer: the lane would send again at once, for ever."""
    with pytest.raises(port.SinkError) as caught:
        await written(lambda partition, before: error)
    assert caught.value.failure.result_class is expected


async def test_a_write_that_is_given_up_leaves_no_producer_behind():
    """Catches a batch that lands after the same rows were sent again."""
    stuck = asyncio.Event()
    gone = []

    class Stuck(Producer):
        async def send(self, session, topic, batch):
            stuck.set()
            await asyncio.Event().wait()

        async def replace(self, session):
            gone.append(session)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "Producer", Stuck)
        task = asyncio.create_task(written(nothing))
        await stuck.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert gone == ["session"]
