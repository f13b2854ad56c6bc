"""Which partition of which topic stands behind each partition of the log that a lane sees.

The numbers interleave, so that a topic which is given more partitions moves none of those that are there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

from aiokafka import structs

Place: TypeAlias = structs.TopicPartition


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """`topics` in the order of the pipeline object, each with its number of partitions."""

    topics: Sequence[str]
    counts: Sequence[int]

    @property
    def partitions(self) -> int:
        """How many numbers there are; behind some there may be nothing, where topics differ in size."""
        return max(self.counts) * len(self.topics)

    @property
    def most(self) -> int:
        """Partitions of the largest topic."""
        return max(self.counts)

    def place(self, number: int) -> Place | None:
        """None for a number behind which there is nothing."""
        partition, topic = divmod(number, len(self.topics))
        return Place(self.topics[topic], partition) if partition < self.counts[topic] else None

    def number(self, place: Place) -> int:
        return int(place.partition) * len(self.topics) + self.topics.index(place.topic)

    def holds(self, place: Place) -> bool:
        """Not one that was added since the topics were looked at."""
        return bool(place.partition < self.counts[self.topics.index(place.topic)])
