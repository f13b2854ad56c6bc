"""What the log's topics are called and how they must be set, so that Kafka never deletes or loses what nobody has read.

Pure: names and settings in, a list of what is wrong out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from penstock.log import port
from penstock.log.kafka import settings as kafka_settings

_SEGMENTS = 8
_MOST_SEGMENT_BYTES = 1 << 30


class TopicMisconfiguredError(port.LogError):
    """A topic is there but does not keep what the log promises; the message names each setting and the command for it."""


def topic_name(prefix: str, topic: str) -> str:
    return f"{prefix}.{topic}"


def group_name(prefix: str, group: str, topic: str) -> str:
    """One group per topic: a rebalance of the replay log's readers must not stop the readers of the events."""
    return f"{prefix}.{group}.{topic}"


def wanted(settings: kafka_settings.Settings) -> dict[str, str]:
    """The settings of a topic of events, dead letters or replayed letters, by Kafka's names."""
    return _segments(settings) | {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "min.insync.replicas": str(settings.min_in_sync),
        "unclean.leader.election.enable": "false",
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(kafka_settings.MESSAGE_BYTES),
        "compression.type": "producer",
    }


def _segments(settings: kafka_settings.Settings) -> dict[str, str]:
    """Brokers let go of whole segments only, and never of the one they write: so these are small beside the log's bound."""
    if settings.max_bytes is None:
        return {}
    share = settings.max_bytes // (_SEGMENTS * settings.partitions)
    return {"segment.bytes": str(min(max(share, 2 * kafka_settings.MESSAGE_BYTES), _MOST_SEGMENT_BYTES))}


def wanted_of_snapshots(settings: kafka_settings.Settings) -> dict[str, str]:
    """A compacted topic; small segments, because only a finished segment is compacted."""
    return {
        "cleanup.policy": "compact",
        "min.insync.replicas": str(settings.min_in_sync),
        "unclean.leader.election.enable": "false",
        "max.message.bytes": str(kafka_settings.MESSAGE_BYTES),
        "segment.bytes": str(8 * kafka_settings.RECORD_BYTES),
    }


def check(
    name: str, settings: kafka_settings.Settings, replicas: Sequence[int], found: Mapping[str, str], wanted: Mapping[str, str]
) -> None:
    """Raise TopicMisconfiguredError, or LogError for the wrong number of partitions. `replicas`: how many each partition has."""
    if len(replicas) != settings.partitions:
        raise port.LogError(
            f"{name} has {len(replicas)} partitions, {settings.partitions} are asked for:"
            f" keep {len(replicas)}, or use another prefix"
        )
    wrong = [f"{key} is {found.get(key)}" for key in wanted if not _enough(key, found.get(key), wanted[key])]
    remedy = ",".join(f"{key}={wanted[key]}" for key in wanted if not _enough(key, found.get(key), wanted[key]))
    if replicas and min(replicas) < settings.replication:
        raise TopicMisconfiguredError(
            f"{name} has {min(replicas)} replicas, {settings.replication} are asked for: reassign its partitions"
            f" (kafka-reassign-partitions), or ask for {min(replicas)}"
        )
    if wrong:
        raise TopicMisconfiguredError(
            f"{name}: {', '.join(wrong)}. kafka-configs --alter --entity-type topics --entity-name {name} --add-config {remedy}"
        )


def _enough(key: str, found: str | None, wanted: str) -> bool:
    if key in {"max.message.bytes", "min.insync.replicas"} and found is not None:
        return int(found) >= int(wanted)
    return key in {"compression.type", "segment.bytes"} or found == wanted
