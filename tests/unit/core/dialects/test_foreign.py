"""Dead letters that other tools wrote, from records in their formats; tests/golden/deadletters says where each is specified."""

from __future__ import annotations

import base64
import json
import pathlib

import pytest
from tests.unit.core.dialects import letters

from penstock.core import deadletters, dialects

_GOLDEN = sorted((pathlib.Path(__file__).parents[3] / "golden" / "deadletters").glob("*.json"))
CONNECT = "__connect.errors."
SPRING = "kafka_dlt-"


@pytest.mark.parametrize("path", _GOLDEN, ids=lambda path: path.stem)
def test_what_other_tools_wrote_is_read(path: pathlib.Path) -> None:
    """Catches a name misspelt, and a number read in another encoding than its writer's."""
    told = json.loads(path.read_text())
    pairs = [(name, None if value is None else base64.b64decode(value)) for name, value in told["headers"]]
    value = base64.b64decode(told["value_base64"])
    read = dialects.decode(value, dialects.last_of(pairs), stamped_microseconds=17)
    shown = {name: getattr(read, name) for name in told["expected"]} | {"category": read.category.value}
    assert shown == told["expected"]
    assert (read.original, read.unit, read.items, read.attempt) == (value, deadletters.Unit.EVENT, (), 1)
    assert read.failed_at_microseconds == 17
    assert read.id == dialects.decode(b"", dialects.last_of(pairs)).id


def test_there_is_a_record_of_every_tool() -> None:
    """Catches a folder that moved: no record, no test."""
    assert {path.stem.partition("-")[0] for path in _GOLDEN} == {"connect", "kafka", "spring"}
    assert len(_GOLDEN) >= 5


@pytest.mark.parametrize(
    ("dialect", "header", "value"),
    [
        (dialects.Dialect.CONNECT, CONNECT + "offset", None),
        (dialects.Dialect.CONNECT, CONNECT + "partition", b"\x00\x00\x00\x01"),
        (dialects.Dialect.KAFKA, "__dlq.errors.offset", b""),
        (dialects.Dialect.SPRING, SPRING + "original-partition", b"3"),
        (dialects.Dialect.SPRING, SPRING + "original-offset", b"\x00" * 9),
        (dialects.Dialect.SPRING, SPRING + "original-timestamp", b"2026"),
    ],
    ids=str,
)
def test_a_place_that_cannot_be_read_is_named(dialect: dialects.Dialect, header: str, value: bytes | None) -> None:
    """Catches a stranger's letter with a made-up address, and an error that does not name the header."""
    _, headers = dialects.encode(letters.letter(), dialect)
    del headers["penstock-dead-letter"], headers[header]
    if value is not None:
        headers[header] = value
    with pytest.raises(deadletters.DeadLetterError, match=header):
        dialects.decode(b"", headers)


def test_what_we_write_has_the_encodings_of_those_we_imitate() -> None:
    """Catches numbers as text under Spring's names, and as bytes under the others'."""
    written = letters.letter(partition=5, offset=258, append_time_microseconds=1_763_699_999_123_456, attempt=2)
    connect, kafka, spring = (dialects.encode(written, dialect)[1] for dialect in list(dialects.Dialect)[1:])
    assert connect[CONNECT + "offset"] == kafka["__dlq.errors.offset"] == b"258"
    assert connect[CONNECT + "stage"] == b"TASK_PUT"
    assert kafka["__dlq.errors.delivery.count"] == b"2"
    assert spring[SPRING + "original-partition"] == b"\0\0\0\5"
    assert spring[SPRING + "original-offset"] == b"\0\0\0\0\0\0\1\2"
    assert int.from_bytes(spring[SPRING + "original-timestamp"], "big") == 1_763_699_999_123
    assert connect[CONNECT + "exception.message"] == spring[SPRING + "exception-message"] == b"message"
