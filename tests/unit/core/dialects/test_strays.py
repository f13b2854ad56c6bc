"""Records of topics that others write, as letters of a lane of ours."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.dialects import letters

from penstock.core import deadletters, dialects, markers
from penstock.core.dialects import strays

HOME = dialects.Home(lane="shop/orders/lake", namespace="shop", pipeline="orders", sink="lake")
CONNECT = [
    ("trace", b"1"),
    ("__connect.errors.topic", b"orders"),
    ("__connect.errors.partition", b"3"),
    ("__connect.errors.offset", b"17"),
    ("__connect.errors.stage", b"VALUE_CONVERTER"),
    ("__connect.errors.connector.name", b"lake-sink"),
]
STRAY = dialects.Stray(
    topic="orders-dlq", topic_id="T", partition=1, offset=5, timestamp_microseconds=1_000, key=b"k", value=b"{}", headers=CONNECT
)


def stray(**changes: object) -> dialects.Stray:
    return dataclasses.replace(STRAY, **changes)  # type: ignore[arg-type]


def test_a_letter_is_the_lanes_own_at_the_place_of_its_record_and_keeps_where_it_stood_first() -> None:
    """Catches a letter that stays homeless, an address taken from what a header says, and an origin that is lost."""
    letter = dialects.adopt(STRAY, HOME)
    assert (letter.lane, letter.sink, letter.namespace, letter.pipeline) == ("shop/orders/lake", "lake", "shop", "orders")
    assert (letter.log_id, letter.partition, letter.offset, letter.attempt) == ("T", 1, 5, 1)
    assert letter.record == deadletters.Record(
        topic="orders", partition=3, offset=17, timestamp_microseconds=1_000, key=b"k", headers=(("trace", b"1"),)
    )
    assert letter.elsewhere == deadletters.Elsewhere(topic="orders-dlq", tool="connect", who="lake-sink")
    assert (letter.category, letter.received_at_microseconds, letter.stands_elsewhere) == (
        deadletters.Category.MALFORMED,
        1_000,
        True,
    )


@pytest.mark.parametrize("change", [{"topic_id": "U"}, {"partition": 2}, {"offset": 6}], ids=str)
def test_every_record_is_a_letter_of_its_own(change: dict[str, object]) -> None:
    """Catches two records about one event, or in topics of one name, that are taken for one letter."""
    assert dialects.adopt(stray(**change), HOME).id != dialects.adopt(STRAY, HOME).id


@pytest.mark.parametrize("change", [{"headers": CONNECT[:4]}, {"timestamp_microseconds": 7}, {"topic": "renamed"}], ids=str)
def test_the_same_record_is_the_same_letter_whatever_it_says(change: dict[str, object]) -> None:
    """Catches an id that depends on more than the place: a second run would put everything back."""
    assert dialects.adopt(stray(**change), HOME).id == dialects.adopt(STRAY, HOME).id


def test_each_lane_has_letters_of_its_own_and_a_renamed_one_keeps_those_with_a_fate() -> None:
    """Catches a topic that only one lane can ever take, and a new name that makes old letters new."""
    before = dialects.adopt(STRAY, dataclasses.replace(HOME, lane="shop/orders/old")).id
    renamed = dataclasses.replace(HOME, formerly=("shop/orders/old",))
    assert dialects.adopt(STRAY, HOME).id != before
    assert dialects.adopt(STRAY, renamed).id == dialects.adopt(STRAY, HOME).id
    assert dialects.adopt(STRAY, renamed, known={before}).id == before


def test_where_a_record_failed_several_times_its_first_place_and_its_last_reason_count() -> None:
    """Catches the retry topic taken for the place where the event stood."""
    names = ("topic", "partition", "offset")
    again = [(f"__connect.errors.{name}", value) for name, value in zip(names, (b"orders-dlq", b"9", b"99"), strict=True)]
    letter = dialects.adopt(stray(headers=[*CONNECT, *again, ("__connect.errors.exception.message", b"last")]), HOME)
    assert letter.record
    assert (letter.record.topic, letter.record.partition, letter.record.offset, letter.message) == ("orders", 3, 17, "last")


def test_a_key_that_spring_can_not_read_has_its_reason_in_headers_of_its_own() -> None:
    """Catches a letter without a reason, and a reader of bytes that gave up taken for an unknown trouble."""
    headers = [
        ("kafka_dlt-original-topic", b"orders"),
        ("kafka_dlt-original-partition", bytes(4)),
        ("kafka_dlt-original-offset", bytes(8)),
        ("kafka_dlt-key-exception-fqcn", b"org.springframework.kafka.support.serializer.DeserializationException"),
        ("kafka_dlt-key-exception-message", b"failed to deserialize"),
    ]
    letter = dialects.adopt(stray(headers=headers), HOME)
    assert (letter.message, letter.category) == ("failed to deserialize", deadletters.Category.MALFORMED)


@pytest.mark.parametrize(
    ("change", "dialect", "named"),
    [
        ({"value": None}, None, "no value, so there is nothing to put back"),
        ({"headers": []}, None, "no header of Penstock, Connect, Kafka or Spring"),
        ({"headers": []}, dialects.Dialect.SPRING, "no header of Spring"),
        ({}, dialects.Dialect.KAFKA, "no header of Kafka"),
        ({"headers": letters.SPRING}, dialects.Dialect.CONNECT, "no header of Connect, and kafka_dlt-original-topic is there"),
        ({"headers": [*CONNECT[:3], ("__connect.errors.offset", b"x")]}, None, "__connect.errors.offset"),
        ({"headers": [("penstock.dead-letter.version", b"2")]}, None, "penstock.dead-letter.version"),
    ],
    ids=str,
)
def test_what_is_no_letter_is_named(change: dict[str, object], dialect: dialects.Dialect | None, named: str) -> None:
    """Catches a record of any kind put back as a letter, and an error that does not say what is wrong with it."""
    with pytest.raises(deadletters.DeadLetterError, match=named):
        dialects.adopt(stray(**change), HOME, dialect)


def test_a_marker_of_another_pipeline_is_told_from_damage() -> None:
    """Catches a topic of another pipeline whose every marker is listed as not readable."""
    marker = markers.Marker(kind=markers.Kind.REPLAYED, id="i", lane="l", attempt=1, at_microseconds=1)
    with pytest.raises(strays.NoLetterError):
        dialects.adopt(stray(headers=list(markers.encode(marker)[1].items())), HOME)


@given(
    st.lists(st.tuples(st.sampled_from(letters.NAMES), st.none() | st.binary(max_size=12)), max_size=8),
    st.sampled_from([None, *dialects.Dialect]),
)
def test_no_header_makes_the_reader_fail_and_what_is_read_can_be_written(
    headers: list[tuple[str, bytes | None]], dialect: dialects.Dialect | None
) -> None:
    """Catches any error but DeadLetterError out of a topic that anybody writes to, and a letter that a replay log can't hold."""
    with contextlib.suppress(deadletters.DeadLetterError):
        letter = dialects.adopt(stray(headers=headers), HOME, dialect)
        assert dialects.decode(*dialects.encode(letter)) == letter
