"""Topics of a user, filled by another client than ours, and a pipeline that reads them."""

from __future__ import annotations

import asyncio
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import confluent_kafka
import msgspec
from confluent_kafka import admin
from tests.integration import kafka_sink

from penstock.core import deadletters, dialects
from penstock.log import port
from penstock.log.embedded import front as embedded
from penstock.log.kafka import client as kafka_client
from penstock.log.kafka import settings as kafka_settings
from penstock.machine import directory

_PATIENCE_SECONDS = 20.0

PIPELINE = """
apiVersion: penstock.dev/v1alpha1
kind: BatchPipeline
metadata: {name: orders, namespace: shop}
spec:
  source: {type: Kafka, kafka: {bootstrapServers: [], topics: []}}
  schema:
    fields:
      - {name: id, type: String, required: true}
      - {name: customer, type: Int64, required: true}
      - {name: items, type: List, element: {type: Int64}}
  transform:
    select:
      - {name: id}
      - {name: customer}
      - {name: topic, value: kafka_topic}
      - {name: place, value: "kafka_partition || '/' || kafka_offset"}
      - {name: key, value: "decode(kafka_key)"}
      - {name: trace, value: "kafka_headers->>'$.trace'"}
      - {name: stamped, value: "epoch_ms(kafka_timestamp)"}
  deadLetters: {flood: {mode: Ignore}}
  sinks:
    - name: warehouse
      type: DuckDB
      duckDB: {path: orders.duckdb, table: orders}
      batching: {static: {rows: 500, lingerMilliseconds: 20}}
"""


def pipeline(bootstrap: str, topics: Sequence[str], *, source: dict[str, Any] | None = None, **spec: Any) -> str:
    """The pipeline above on these topics, with members of its source and its spec replaced; None leaves one out."""
    described = msgspec.yaml.decode(PIPELINE)
    told = {"bootstrapServers": [bootstrap], "topics": list(topics), **(source or {})}
    described["spec"]["source"]["kafka"] = told
    for name, value in spec.items():
        described["spec"].pop(name, None)
        if value is not None:
            described["spec"][name] = value
    return msgspec.yaml.encode(described).decode()


def order(number: int, **rest: Any) -> bytes:
    return json.dumps({"id": f"o{number}", "customer": number % 7, "items": [number], **rest}).encode()


def produce(bootstrap: str, topic: str, values: Iterable[bytes | None], **each: Any) -> None:
    """Durable on return. `each`: what every record has, as `key`, `headers`, `partition`."""
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "acks": "all", "message.max.bytes": 24 << 20})
    failed: list[Any] = []
    for value in values:
        while True:
            try:
                producer.produce(topic, value, on_delivery=lambda error, _: error and failed.append(error), **each)
                break
            except BufferError:
                producer.poll(1.0)
    assert not producer.flush(_PATIENCE_SECONDS)
    assert not failed, failed


def transaction(bootstrap: str, topic: str, values: Iterable[bytes], *, commit: bool, **each: Any) -> None:
    """All of the values in one transaction, which is then committed or given up."""
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": kafka_sink.topic_name(), "linger.ms": 5}
    )
    producer.init_transactions(_PATIENCE_SECONDS)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, **each)
    producer.flush(_PATIENCE_SECONDS)
    (producer.commit_transaction if commit else producer.abort_transaction)(_PATIENCE_SECONDS)


def delete_below(bootstrap: str, topic: str, partition: int, offset: int) -> None:
    """What retention does."""
    client = admin.AdminClient({"bootstrap.servers": bootstrap})
    for done in client.delete_records([confluent_kafka.TopicPartition(topic, partition, offset)]).values():
        done.result(_PATIENCE_SECONDS)


def bury(bootstrap: str, group: str) -> None:
    """Take members out of the group whose processes have been killed, instead of waiting until the brokers miss them."""

    async def leave(members: Sequence[str]) -> None:
        client = kafka_client.Client(kafka_settings.Settings(bootstrap=bootstrap, prefix="test", partitions=1))
        await client.open()
        try:
            for member in members:
                await client.leave(group, member)
        finally:
            await client.close()

    asked = admin.AdminClient({"bootstrap.servers": bootstrap})
    described = asked.describe_consumer_groups([group])
    asyncio.run(leave([member.member_id for member in described[group].result(_PATIENCE_SECONDS).members]))


async def letters(data: pathlib.Path) -> list[deadletters.DeadLetter]:
    """Those of a pipeline that has ended, in the order in which they were written."""
    log = await embedded.EmbeddedLog.open(directory.DataDirectory(data).log_path, read_only=True)
    try:
        found = await log.read(port.DEAD_LETTERS, 0, 0, max_bytes=1 << 30)
    finally:
        await log.close()
    return [dialects.decode(one.value, one.headers) for one in found]
