"""The three jobs: what goes in, what must come out, and how much of it."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from benchmarks.peers import workload

_LANDED = {
    "id": "VARCHAR",
    "user_id": "BIGINT",
    "ts": "TIMESTAMPTZ",
    "kind": "VARCHAR",
    "page": "VARCHAR",
    "region": "VARCHAR",
    "device": "VARCHAR",
    "shard": "BIGINT",
    "milliseconds": "DOUBLE",
    "hour": "TIMESTAMPTZ",
    "is_sale": "BOOLEAN",
    "item_count": "BIGINT",
}
_EXPLODED = {
    "id": "VARCHAR",
    "user_id": "BIGINT",
    "ts": "TIMESTAMPTZ",
    "type": "VARCHAR",
    "item_no": "BIGINT",
    "sku": "VARCHAR",
    "qty": "BIGINT",
    "price": "DOUBLE",
    "amount": "DOUBLE",
    "key": "VARCHAR",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`sizes`: two numbers of events; what an event costs is the slope between them, so that starting is not in it."""

    name: str
    says: str
    source: Literal["topic", "requests"]
    into: Literal["topic", "files"]
    documents: Callable[[int], Iterator[bytes]]
    rows: Callable[[pathlib.Path], Iterator[dict[str, Any]]]
    columns: Mapping[str, str]
    """Of a row, each with its type in DuckDB. `key` is the record's key where rows go to a topic."""
    sizes: tuple[int, int]
    target_us: float | None = None
    """What all of Penstock's processes together may take per event."""
    goals: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """How many times as much CPU as Penstock others are meant to take."""
    quick_sizes: tuple[int, int] = (2_000, 6_000)


ALL = (
    Job(
        name="explode",
        says="Kafka topic of arrays, five items on average → one record per item, keyed, in another topic",
        source="topic",
        into="topic",
        documents=workload.arrays,
        rows=workload.exploded,
        columns=_EXPLODED,
        sizes=(100_000, 400_000),
    ),
    Job(
        name="land",
        says="Kafka topic → deduplicate by id, filter, nine computed columns → files",
        source="topic",
        into="files",
        documents=workload.clicks,
        rows=workload.landed,
        columns=_LANDED,
        sizes=(200_000, 800_000),
        target_us=4.0,
        goals={"Benthos core": 5.0, "Flink SQL": 3.0, "msgspec loop": 1.0},
    ),
    Job(
        name="ingest",
        says="requests of 2,000 events → acknowledged once in Kafka → deduplicate, filter, nine computed columns → files",
        source="requests",
        into="files",
        documents=workload.clicks,
        rows=workload.landed,
        columns=_LANDED,
        sizes=(200_000, 800_000),
        target_us=4.0,
    ),
)
