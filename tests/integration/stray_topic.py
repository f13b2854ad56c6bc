"""Topics of dead letters as Connect, Spring and the broker write them, by another client than ours.

Names and encodings: tests/golden/deadletters says where each is specified.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

import confluent_kafka
from tests.integration import kafka_sink

PARTITIONS = 4
"""Not as many as the log has."""
MILLISECONDS = 1_763_699_999_123
"""When the events were made: long ago, as in a dead-letter topic of Connect, which keeps the record's own time."""
Headers = list[tuple[str, bytes | None]]


def connect(number: int) -> Headers:
    """DeadLetterQueueReporter: the record's own headers, then these, all of them text; a worker knows no null but the message."""
    return [
        ("trace", b"t%d" % number),
        ("__connect.errors.topic", b"orders"),
        ("__connect.errors.partition", b"%d" % (number % 7)),
        ("__connect.errors.offset", b"%d" % number),
        ("__connect.errors.connector.name", b"warehouse-sink"),
        ("__connect.errors.task.id", b"0"),
        ("__connect.errors.stage", b"TASK_PUT"),
        ("__connect.errors.class.name", b"org.apache.kafka.connect.sink.SinkTask"),
        ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
        ("__connect.errors.exception.message", None),
        ("__connect.errors.exception.stacktrace", b"org.apache.kafka.connect.errors.DataException\n\tat ..."),
    ]


def spring(number: int) -> Headers:
    """DeadLetterPublishingRecoverer of a listener with a retry topic: the original headers are there twice, the first from where
    the record stood first; numbers are big-endian."""

    def original(topic: bytes, offset: int) -> Headers:
        return [
            ("kafka_dlt-original-topic", topic),
            ("kafka_dlt-original-partition", (number % 7).to_bytes(4, "big")),
            ("kafka_dlt-original-offset", offset.to_bytes(8, "big")),
            ("kafka_dlt-original-timestamp", MILLISECONDS.to_bytes(8, "big")),
            ("kafka_dlt-original-timestamp-type", b"CreateTime"),
            ("kafka_dlt-original-consumer-group", b"billing"),
        ]

    return [
        ("trace", b"t%d" % number),
        *original(b"orders", 2**33 + number),
        *original(b"orders-retry-0", number),
        ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
        ("kafka_dlt-exception-cause-fqcn", b"java.lang.IllegalStateException"),
        ("kafka_dlt-exception-message", b"Listener failed"),
        ("kafka_dlt-exception-stacktrace", b"..."),
    ]


def broker(number: int) -> Headers:
    """ShareGroupDLQStateManager, of a group that copies records: six headers and none of the record's own."""
    return [
        ("__dlq.errors.topic", b"orders"),
        ("__dlq.errors.partition", b"%d" % (number % 7)),
        ("__dlq.errors.offset", b"%d" % number),
        ("__dlq.errors.group", b"billing"),
        ("__dlq.errors.delivery.count", b"5"),
        ("__dlq.errors.message", b"Offset delivery count exceeded the threshold."),
    ]


TOOLS: Sequence[Callable[[int], Headers]] = (connect, spring, broker)
NO_LETTERS: Sequence[tuple[bytes | None, Headers]] = (
    (b"{}", []),
    (b"{}", [("__connect.errors.topic", b"orders"), ("__connect.errors.partition", b"0"), ("__connect.errors.offset", b"x")]),
    (b"{}", [("kafka_dlt-original-topic", b"orders"), ("kafka_dlt-original-partition", b"0")]),
    (None, broker(0)),
    (b"{}", [("penstock.dead-letter.version", b"9")]),
)
"""Records that are none: no headers, damaged ones, a share group that copies nothing, a release to come."""


def event(number: int) -> bytes:
    return json.dumps({"id": f"e{number}", "customer": number % 101, "number": number}).encode()


def write(
    bootstrap: str,
    numbers: Sequence[int],
    *,
    topic: str | None = None,
    every: int = 30,
    compression: str = "none",
    value: bytes | None = None,
) -> str:
    """A letter of the next tool for each number, with something that is no letter after every so many; the topic.

    `value`: what failed, in place of `event`.
    """
    name = topic or kafka_sink.make_topic(bootstrap, partitions=PARTITIONS, retention_ms="-1")
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "compression.type": compression, "linger.ms": 20, "enable.idempotence": True}
    )
    for original, number, headers in _records(numbers, every):
        producer.produce(
            name,
            value or original,
            key=b"k%d" % number,
            partition=number % PARTITIONS,
            headers=headers,
            timestamp=MILLISECONDS + number,
        )
    assert producer.flush(60) == 0
    return name


def _records(numbers: Sequence[int], every: int) -> Iterator[tuple[bytes | None, int, Headers]]:
    for at, number in enumerate(numbers):
        yield event(number), number, TOOLS[number % len(TOOLS)](number)
        if at % every == every - 1:
            value, headers = NO_LETTERS[at // every % len(NO_LETTERS)]
            yield value, number, headers
