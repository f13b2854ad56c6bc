"""How near the oldest unread record of a topic that others write is to being deleted there.

Penstock can't keep such a topic from deleting, only say so in time. Brokers delete whole segments, some minutes late, so what is
said here errs on the early side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

NEAR = 0.8
"""From this share on somebody should act."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a topic keeps of each partition; None: all of it."""

    seconds: float | None = None
    bytes: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """Of one partition. `next` is the lowest offset that isn't finished; `age_seconds`: of the record there, by its own
    timestamp, None where it has none; `partition_bytes`: from `start` to `end`, None where that is not known."""

    start: int
    next: int
    end: int
    age_seconds: float | None = None
    partition_bytes: int | None = None


def kept(configs: Mapping[str, str]) -> Kept:
    """From a topic's settings, by Kafka's names. One that is only compacted deletes by key, not by age or size."""
    if "delete" not in configs.get("cleanup.policy", "delete"):
        return Kept()
    milliseconds, size = (int(configs.get(name) or -1) for name in ("retention.ms", "retention.bytes"))
    return Kept(seconds=milliseconds / 1_000 if milliseconds >= 0 else None, bytes=size if size >= 0 else None)


def used(keeps: Kept, unread: Unread) -> float:
    """The share of what the topic keeps that lies before the oldest unread record: from 1 on it may go at any time."""
    if unread.next >= unread.end:
        return 0.0
    if unread.next < unread.start:
        return 1.0
    shares = [0.0]
    if keeps.seconds is not None and unread.age_seconds is not None:
        shares.append(unread.age_seconds / max(keeps.seconds, 1.0))
    if keeps.bytes is not None and unread.partition_bytes is not None:
        behind = unread.partition_bytes * (unread.end - unread.next) / (unread.end - unread.start)
        shares.append(behind / max(keeps.bytes, 1))
    return max(shares)
