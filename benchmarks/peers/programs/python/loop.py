"""The loop that one would write by hand: consume a list, map it, write it, commit. No back-pressure, no retries, no counts.

    python loop.py explode|land SERVERS TOPIC COUNT INTO       (INTO is a topic or a file)

It ends after COUNT records. The client is the cheaper one: aiokafka takes three times as long to hand over records.
"""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import confluent_kafka
import mapping

_AT_ONCE = 10_000


def main(job: str, servers: str, topic: str, count: str, into: str) -> None:
    settings: dict[str, Any] = {
        "bootstrap.servers": servers,
        "group.id": f"loop-{topic}-{os.getpid()}",
        "fetch.min.bytes": 65_536,
    }
    consumer = confluent_kafka.Consumer(settings | {"auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([topic])
    {"explode": explode, "land": land}[job](consumer, int(count), servers, into)
    consumer.close()


def land(consumer: confluent_kafka.Consumer, count: int, _servers: str, path: str) -> None:
    work = mapping.Land()
    with pathlib.Path(path).open("wb") as file:
        for documents in _documents(consumer, count):
            file.write(work.lines(documents))
            file.flush()
            consumer.commit(asynchronous=True)


def explode(consumer: confluent_kafka.Consumer, count: int, servers: str, topic: str) -> None:
    waiting = {"linger.ms": 50, "batch.size": 1_000_000, "queue.buffering.max.messages": 500_000}
    producer = confluent_kafka.Producer({"bootstrap.servers": servers, "acks": "all", **waiting})
    for documents in _documents(consumer, count):
        rows = [{"key": key, "value": value} for key, value in mapping.explode(documents)]
        if producer.produce_batch(topic, rows) != len(rows) or producer.flush(60):
            raise SystemExit("the broker did not take all rows")
        consumer.commit(asynchronous=True)


def _documents(consumer: confluent_kafka.Consumer, count: int) -> Iterator[list[bytes]]:
    while count > 0:
        records = consumer.consume(min(_AT_ONCE, count), 0.5)
        documents = [record.value() or b"" for record in records if record.error() is None]
        count -= len(documents)
        if documents:
            yield documents


if __name__ == "__main__":
    main(*sys.argv[1:])
