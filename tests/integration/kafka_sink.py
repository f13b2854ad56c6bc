"""A Kafka sink's topics as another client sees them, and batches of rows for its writer."""

from __future__ import annotations

import collections
import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import confluent_kafka
import pyarrow as pa
from confluent_kafka import admin

from penstock.core import addresses, delivery
from penstock.sinks import tables
from penstock.sinks.kafka import brokers, compress, rows, writer

LANE = "default/orders/out"
LOG = "log"
_PATIENCE_SECONDS = 20.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """As a consumer of librdkafka reads it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes | None]

    @property
    def event_id(self) -> str:
        return (self.headers[rows.EVENT_ID] or b"").decode()


def topic_name() -> str:
    """A name of the test's own."""
    return f"t{uuid.uuid4().hex}"


def make_topic(bootstrap: str, *, partitions: int = 3, name: str | None = None, **configs: str) -> str:
    """A topic; `configs` with _ for each dot."""
    name = name or topic_name()
    told = {key.replace("_", "."): value for key, value in configs.items()}
    new = admin.NewTopic(name, num_partitions=partitions, replication_factor=1, config=told)
    client = admin.AdminClient({"bootstrap.servers": bootstrap})
    for done in client.create_topics([new]).values():
        done.result()
    return name


def read(bootstrap: str, topic: str) -> list[Record]:
    """Everything in the topic, in order within each partition."""
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "enable.auto.commit": False,
            "check.crcs": True,
            "fetch.wait.max.ms": 50,
        }
    )
    try:
        numbers = consumer.list_topics(topic, timeout=_PATIENCE_SECONDS).topics[topic].partitions
        places = [confluent_kafka.TopicPartition(topic, number, 0) for number in numbers]
        count = sum(consumer.get_watermark_offsets(place, timeout=_PATIENCE_SECONDS)[1] for place in places)
        consumer.assign(places)
        found = _read(consumer, count)
        found.sort(key=lambda one: (one.partition, one.offset))
        return found
    finally:
        consumer.close()


def _read(consumer: confluent_kafka.Consumer, end: int) -> list[Record]:
    found: list[Record] = []
    while len(found) < end:
        # It waits until it has as many as were asked for.
        messages = consumer.consume(min(end - len(found), 10_000), timeout=_PATIENCE_SECONDS)
        if not messages:
            raise TimeoutError(f"{len(found)} of {end} records")
        for message in messages:
            if message.error():
                raise confluent_kafka.KafkaException(message.error())
            found.append(
                Record(
                    partition=message.partition(),
                    offset=message.offset(),
                    key=message.key(),
                    value=message.value(),
                    headers=dict(message.headers() or ()),
                )
            )
    return found


def at(bootstrap: str) -> brokers.Brokers:
    return brokers.Brokers(bootstrap=bootstrap.split(","))


def make_writer(bootstrap: str | brokers.Brokers, **changes: Any) -> writer.KafkaWriter:
    told: dict[str, Any] = {
        "at": at(bootstrap) if isinstance(bootstrap, str) else bootstrap,
        "format": rows.Json(),
        "layout": rows.Layout(headers=()),
        "codec": compress.Codec.ZSTD,
        "batch_bytes": 1 << 20,
        "new_topic": brokers.NewTopic(),
        "table_policy": tables.TablePolicy.VERIFY,
        "timeout_seconds": 30.0,
    }
    failpoint = changes.pop("failpoint", None)
    return writer.KafkaWriter(writer.Settings(**told | changes), **({"failpoint": failpoint} if failpoint else {}))


def batch(table: str, columns: Mapping[str, pa.Array[Any] | Sequence[Any]], *, start: int = 0) -> delivery.SinkBatch:
    """One row per event of one block at offset `start`."""
    told = pa.table(dict(columns))
    count = told.num_rows
    places = {
        delivery.LOG_COLUMN: pa.array([LOG] * count, pa.string()),
        delivery.PARTITION_COLUMN: pa.array([0] * count, pa.int32()),
        delivery.OFFSET_COLUMN: pa.array([start] * count, pa.int64()),
        delivery.ORDINAL_COLUMN: pa.array(range(count), pa.int32()),
        delivery.ITEM_COLUMN: pa.array([0] * count, pa.int32()),
    }
    for name, column in places.items():
        told = told.append_column(name, column)
    whole = addresses.Range(LOG, 0, addresses.Position(start), addresses.Position(start + 1))
    return delivery.SinkBatch(lane=LANE, table=table, ranges=[whole], token="", finished_below=(), key_columns=(), rows=told)


def duplicates(found: Sequence[Record]) -> int:
    """Records beyond the first of each event id."""
    return sum(count - 1 for count in collections.Counter(one.event_id for one in found).values())
