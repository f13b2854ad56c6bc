"""The headers of Kafka Connect, of Kafka itself (share groups, Streams) and of Spring: written for them, and read from them.

Sources: Connect's DeadLetterQueueReporter (KIP-298), the broker's ShareGroupDLQStateManager (KIP-1191), the
ExceptionHandlerUtils of Streams (KIP-1034), Spring's DeadLetterPublishingRecoverer. Only Spring writes numbers as bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import msgspec

from penstock.core import addresses, deadletters
from penstock.core.dialects import texts

_CONNECT = "__connect.errors."
_KAFKA = "__dlq.errors."
_STREAMS = "__streams.errors."
_SPRING = "kafka_dlt-"
_INT32_MAX = 2**31 - 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where a tool writes what. `who` is the connector or group that gave up; names that a tool lacks are empty.

    Of `message` and `cause` the first that is there counts: Spring has others for a key that it can't read.
    """

    tool: str
    prefix: str
    topic: str
    partition: str
    offset: str
    message: tuple[str, ...]
    who: str = ""
    cause: tuple[str, ...] = ()
    stage: str = ""
    timestamp: str = ""
    binary: bool = False

    def place(self, headers: Mapping[str, bytes]) -> tuple[int, int]:
        """Partition and offset. Raises DeadLetterError."""
        partition, offset = (self._needed(headers, name) for name in (self.partition, self.offset))
        if self.binary:
            return texts.big_endian(self.partition, partition, 4), texts.big_endian(self.offset, offset, 8)
        return texts.number(self.partition, partition), texts.number(self.offset, offset)

    def _needed(self, headers: Mapping[str, bytes], name: str) -> bytes:
        if name not in headers:
            raise deadletters.DeadLetterError(f"{name}: missing, and {self.topic} is there")
        return headers[name]


_LAYOUTS = (
    Layout(
        tool="connect",
        prefix=_CONNECT,
        topic=_CONNECT + "topic",
        partition=_CONNECT + "partition",
        offset=_CONNECT + "offset",
        message=(_CONNECT + "exception.message",),
        who=_CONNECT + "connector.name",
        cause=(_CONNECT + "exception.class.name",),
        stage=_CONNECT + "stage",
    ),
    Layout(
        tool="kafka",
        prefix=_KAFKA,
        topic=_KAFKA + "topic",
        partition=_KAFKA + "partition",
        offset=_KAFKA + "offset",
        message=(_KAFKA + "message",),
        who=_KAFKA + "group",
    ),
    Layout(
        tool="streams",
        prefix=_STREAMS,
        topic=_STREAMS + "topic",
        partition=_STREAMS + "partition",
        offset=_STREAMS + "offset",
        message=(_STREAMS + "message",),
        cause=(_STREAMS + "exception",),
    ),
    Layout(
        tool="spring",
        prefix=_SPRING,
        topic=_SPRING + "original-topic",
        partition=_SPRING + "original-partition",
        offset=_SPRING + "original-offset",
        message=(_SPRING + "exception-message", _SPRING + "key-exception-message"),
        who=_SPRING + "original-consumer-group",
        cause=(_SPRING + "exception-fqcn", _SPRING + "key-exception-fqcn"),
        timestamp=_SPRING + "original-timestamp",
        binary=True,
    ),
)
_CATEGORY_OF_STAGE = {
    b"KEY_CONVERTER": deadletters.Category.MALFORMED,
    b"HEADER_CONVERTER": deadletters.Category.MALFORMED,
    b"VALUE_CONVERTER": deadletters.Category.MALFORMED,
    b"TRANSFORMATION": deadletters.Category.TRANSFORM_FAILED,
    b"TASK_PUT": deadletters.Category.SINK_REJECTED,
}
_STAGE_OF_CATEGORY = {
    deadletters.Category.MALFORMED: b"VALUE_CONVERTER",
    deadletters.Category.SCHEMA_MISMATCH: b"VALUE_CONVERTER",
    deadletters.Category.TOO_LARGE: b"VALUE_CONVERTER",
    deadletters.Category.TRANSFORM_FAILED: b"TRANSFORMATION",
    deadletters.Category.SINK_REJECTED: b"TASK_PUT",
    deadletters.Category.UNCLASSIFIED: b"TASK_PUT",
}


def connect(letter: deadletters.DeadLetter) -> dict[str, bytes]:
    """As a sink connector with `errors.deadletterqueue.context.headers.enable` writes them, without a stack trace."""
    return {
        _CONNECT + "topic": _topic(letter),
        _CONNECT + "partition": b"%d" % letter.partition,
        _CONNECT + "offset": b"%d" % letter.offset,
        _CONNECT + "connector.name": texts.to_bytes(letter.lane),
        _CONNECT + "task.id": b"0",
        _CONNECT + "stage": _STAGE_OF_CATEGORY[letter.category],
        _CONNECT + "class.name": texts.to_bytes(f"penstock.{letter.stage}"),
        _CONNECT + "exception.class.name": _cause(letter),
        _CONNECT + "exception.message": texts.to_bytes(letter.message),
    }


def kafka(letter: deadletters.DeadLetter) -> dict[str, bytes]:
    """As a broker writes them for a share group."""
    return {
        _KAFKA + "topic": _topic(letter),
        _KAFKA + "partition": b"%d" % letter.partition,
        _KAFKA + "offset": b"%d" % letter.offset,
        _KAFKA + "group": texts.to_bytes(letter.lane),
        _KAFKA + "delivery.count": b"%d" % letter.attempt,
        _KAFKA + "message": texts.to_bytes(letter.message),
    }


def spring(letter: deadletters.DeadLetter) -> dict[str, bytes]:
    """As Spring's recoverer writes them, without a stack trace."""
    milliseconds = letter.append_time_microseconds // 1000
    return {
        _SPRING + "original-topic": _topic(letter),
        _SPRING + "original-partition": min(letter.partition, _INT32_MAX).to_bytes(4, "big", signed=True),
        _SPRING + "original-offset": letter.offset.to_bytes(8, "big", signed=True),
        _SPRING + "original-timestamp": milliseconds.to_bytes(8, "big", signed=True),
        _SPRING + "original-timestamp-type": b"LogAppendTime",
        _SPRING + "original-consumer-group": texts.to_bytes(letter.lane),
        _SPRING + "exception-fqcn": _cause(letter),
        _SPRING + "exception-message": texts.to_bytes(letter.message),
    }


def layouts(tools: Iterable[str]) -> list[Layout]:
    """Those of these tools."""
    return [layout for layout in _LAYOUTS if layout.tool in tools]


def layout_of(headers: Mapping[str, bytes], among: Iterable[Layout] = _LAYOUTS) -> Layout | None:
    """Who wrote this; every tool writes the topic."""
    return next((layout for layout in among if layout.topic in headers), None)


def message(headers: Mapping[str, bytes]) -> str:
    """Why, in the words of whoever wrote it; empty where nothing is said."""
    layout = layout_of(headers)
    return _first(headers, layout.message) if layout else ""


def decode(layout: Layout, value: bytes, headers: Mapping[str, bytes], stamped_microseconds: int) -> deadletters.DeadLetter:
    """A letter about the whole record. `sink` is who gave up on it; it has no lane until a replay gives it one.

    Raises DeadLetterError for a place that can't be read; other headers are kept as far as they are text.
    """
    partition, offset = layout.place(headers)
    topic, who = (_text(headers, name) for name in (layout.topic, layout.who))
    cause, why = (_first(headers, names) for names in (layout.cause, layout.message))
    log_id = f"{layout.tool}:{topic}"
    said = why or cause or "no reason given"
    # Streams writes the whole exception as text: its class, then its message.
    code = cause.partition(": ")[0]
    address = addresses.Address(log_id, partition, addresses.Position(offset, 0))
    return msgspec.structs.replace(
        whole_event(value, tool=layout.tool, said=said, failed_at_microseconds=stamped_microseconds),
        id=deadletters.letter_id(address, f"{layout.tool}:{who}", ()),
        sink=who,
        log_id=log_id,
        partition=partition,
        offset=offset,
        stage=_text(headers, layout.stage) or layout.tool,
        category=(category := _category(headers.get(layout.stage, b""), code)),
        code=code,
        fingerprint=deadletters.fingerprint(category, said),
        received_at_microseconds=_received(layout, headers),
        append_time_microseconds=_received(layout, headers),
    )


def whole_event(value: bytes, *, tool: str, said: str, failed_at_microseconds: int) -> deadletters.DeadLetter:
    """What is the same of every letter of another tool: it is about the whole event, and has no place and no lane yet."""
    category = deadletters.Category.UNCLASSIFIED
    return deadletters.DeadLetter(
        id="",
        lane="",
        namespace="",
        pipeline="",
        sink="",
        log_id="",
        partition=-1,
        offset=-1,
        ordinal=0,
        items=(),
        unit=deadletters.Unit.EVENT,
        stage=tool,
        category=category,
        code="",
        message=said,
        expression="",
        fingerprint=deadletters.fingerprint(category, said),
        original=value,
        original_format=deadletters.OriginalFormat.JSON,
        received_at_microseconds=0,
        append_time_microseconds=0,
        failed_at_microseconds=failed_at_microseconds,
        schema_fingerprint="",
        revision="",
        traceparent="",
        attempt=1,
    )


def _received(layout: Layout, headers: Mapping[str, bytes]) -> int:
    """Microseconds; 0 where the tool does not say, or says something that is no time."""
    if layout.timestamp not in headers:
        return 0
    microseconds = texts.big_endian(layout.timestamp, headers[layout.timestamp], 8) * 1000
    return microseconds if 0 <= microseconds <= texts.MAX_MICROSECONDS else 0


def _category(stage: bytes, code: str) -> deadletters.Category:
    """Only Connect says where it failed; of the others it is known where a reader of bytes gave up."""
    if code.endswith("DeserializationException"):
        return deadletters.Category.MALFORMED
    return _CATEGORY_OF_STAGE.get(stage, deadletters.Category.UNCLASSIFIED)


def _first(headers: Mapping[str, bytes], names: Iterable[str]) -> str:
    return next((texts.lenient(headers[name]) for name in names if name in headers), "")


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return texts.lenient(headers.get(name, b""))


def _topic(letter: deadletters.DeadLetter) -> bytes:
    return texts.to_bytes(f"{letter.namespace}.{letter.pipeline}")


def _cause(letter: deadletters.DeadLetter) -> bytes:
    return texts.to_bytes(f"penstock.{letter.category.value}")
