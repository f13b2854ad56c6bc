"""Names and required settings of the log's topics."""

from __future__ import annotations

import dataclasses

import pytest

from penstock.log import port
from penstock.log.kafka import settings as kafka_settings
from penstock.log.kafka import topics

SETTINGS = kafka_settings.Settings(bootstrap="b:9092", prefix="shop.orders", partitions=2)
WANTED = topics.wanted(SETTINGS)


def test_a_topic_set_as_wanted_or_more_safely_passes():
    """Catches a check that refuses what keeps more than is asked for."""
    topics.check("t", SETTINGS, [3, 5], {**WANTED, "min.insync.replicas": "3", "max.message.bytes": "99999999"}, WANTED)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("retention.bytes", "1000000"),
        ("retention.ms", None),
        ("min.insync.replicas", "1"),
        ("unclean.leader.election.enable", "true"),
        ("max.message.bytes", "1048588"),
        ("message.timestamp.type", "CreateTime"),
    ],
)
def test_each_setting_that_can_lose_events_is_named_with_its_remedy(key, value):
    """Catches a setting that is wanted but never compared."""
    with pytest.raises(topics.TopicMisconfiguredError, match=rf"{key} is {value}.*--add-config {key}={WANTED[key]}"):
        topics.check("t", SETTINGS, [3, 3], {**WANTED, key: value}, WANTED)


def test_segments_are_small_beside_the_bound_of_the_log_and_hold_a_block():
    """Catches a bound that one segment exceeds, which no trimming can free, and a segment that refuses the largest block."""

    def segment(max_bytes: int) -> int:
        return int(topics.wanted(dataclasses.replace(SETTINGS, max_bytes=max_bytes))["segment.bytes"])

    assert segment(100 << 30) == 1 << 30
    assert segment(1 << 20) == 2 * kafka_settings.MESSAGE_BYTES
    assert segment(8 << 30) * SETTINGS.partitions * 8 <= 8 << 30


def test_too_few_replicas_of_one_partition_are_refused():
    """Catches a look at the first partition only."""
    with pytest.raises(topics.TopicMisconfiguredError, match="2 replicas, 3 are asked for"):
        topics.check("t", SETTINGS, [3, 2], WANTED, WANTED)


def test_another_number_of_partitions_is_refused():
    """Catches keys that would move to another partition."""
    with pytest.raises(port.LogError, match="1 partitions, 2 are asked for"):
        topics.check("t", SETTINGS, [3], WANTED, WANTED)
