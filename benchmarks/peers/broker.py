"""The one Kafka broker that all contenders use: the tests' fixture, its topics filled once and read back after each run."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator, Sequence

import confluent_kafka
import msgspec
import psutil
from confluent_kafka import admin
from tests.servers import installed, kafka

PARTITIONS = 2
_PATIENCE_SECONDS = 60.0
_AT_ONCE = 10_000


class BrokerError(Exception):
    """The broker did not do as it was asked."""


class Broker:
    """`bootstrap` is its address."""

    def __init__(self, server: kafka.Kafka) -> None:
        self.bootstrap = server.bootstrap
        self._process = psutil.Process(server.broker.pid)
        self._admin = admin.AdminClient({"bootstrap.servers": server.bootstrap, "log_level": 0})

    def cpu_seconds(self) -> float:
        """All it has used so far."""
        used = self._process.cpu_times()
        return float(used.user + used.system)

    def make(self, topic: str) -> str:
        """The new, empty topic."""
        for made in self._admin.create_topics([admin.NewTopic(topic, PARTITIONS, 1)]).values():
            made.result(_PATIENCE_SECONDS)
        return topic

    def drop(self, topics: Sequence[str]) -> None:
        for dropped in self._admin.delete_topics(list(topics)).values() if topics else ():
            dropped.result(_PATIENCE_SECONDS)

    def fill(self, topic: str, lines: pathlib.Path) -> None:
        """One record per line, keyed by its `id`: equal ids share a partition, as deduplicating per partition needs."""
        producer = confluent_kafka.Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 50, "batch.size": 1_000_000})
        with lines.open("rb") as file:
            for line in file:
                document = line.rstrip(b"\n")
                key = document[7 : document.index(b'"', 7)]
                while True:
                    try:
                        producer.produce(topic, document, key)
                        break
                    except BufferError:
                        producer.poll(0.1)
        if producer.flush(_PATIENCE_SECONDS):
            raise BrokerError(f"the broker did not take all records of {topic}")

    def read(self, topic: str, path: pathlib.Path) -> pathlib.Path:
        """All records of a topic in a file: each value with the record's key as one more member."""
        settings = {"bootstrap.servers": self.bootstrap, "group.id": "reader", "enable.auto.commit": False}
        consumer = confluent_kafka.Consumer(settings)
        with path.open("wb") as file, contextlib.closing(consumer):
            for partition in range(PARTITIONS):
                place = confluent_kafka.TopicPartition(topic, partition, 0)
                _, left = consumer.get_watermark_offsets(place, timeout=_PATIENCE_SECONDS)
                consumer.assign([place])
                while left > 0:
                    records = consumer.consume(min(_AT_ONCE, left), 0.2)
                    file.writelines(map(_line, records))
                    left -= len(records)
        return path


def records(bootstrap: str, topic: str) -> int:
    """How many a topic holds, those that a producer has sent twice among them."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "counter"})
    with contextlib.closing(consumer):
        places = [confluent_kafka.TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        return sum(consumer.get_watermark_offsets(place, timeout=_PATIENCE_SECONDS)[1] for place in places)


def _line(record: confluent_kafka.Message) -> bytes:
    if record.error() is not None:
        raise BrokerError(str(record.error()))
    value, key = record.value() or b"", record.key() or b""
    return value.rstrip()[:-1] + b',"key":' + msgspec.json.encode(key.decode()) + b"}\n"


@contextlib.contextmanager
def started() -> Iterator[Broker]:
    """A broker with nothing in it, as long as the context lasts. Raises MissingServersError, ServerError."""
    with tempfile.TemporaryDirectory(prefix="penstock-peers-broker-") as folder:
        server = kafka.Kafka(installed.found(), pathlib.Path(folder))
        server.format()
        server.broker.start()
        try:
            yield Broker(server)
        finally:
            server.broker.stop()
