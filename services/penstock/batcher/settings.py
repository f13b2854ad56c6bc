"""What one lane is told at its start; read once, frozen."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Awaitable, Callable

import pyarrow as pa

from penstock.core import breaker, deadletters, dialects, failpoints, flood, hedging, schema
from penstock.core.batching import model
from penstock.core.records import decode
from penstock.core.transform import spec


class StartFrom(enum.Enum):
    """Where a lane that never committed begins; see batcher.beginning."""

    EARLIEST = "Earliest"
    NOW = "Now"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deduplicate:
    """Event fields whose equality makes a duplicate, and how far back one is looked for."""

    key: tuple[str, ...]
    window_microseconds: int
    max_events: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    initial_seconds: float = 0.2
    maximum_seconds: float = 30.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """One lane: the path from the log to one sink.

    `transform_rows` and `transform_bytes` bound the rows one transform call may make, and what they may repeat of their
    events or make of them in expressions that multiply; a single event apart, which `event_rows` and `event_bytes` bound;
    `decoded_bytes` bounds the blocks decoded at once; `memory_bytes` bounds the rows between the transform and the store,
    beyond which the lane stops reading.
    """

    namespace: str
    pipeline: str
    sink: str
    revision: str
    rows_revision: str
    """Short name of what rows are made of: the same while the same events make the same rows for the same tables."""
    event_schema: schema.Schema
    transform: spec.TransformSpec
    tables: tuple[str, ...]
    """Every table rows may go to; the first is the one when the transform names none."""
    write_model: model.WriteModel
    limits: model.Limits
    latency_objective_seconds: float
    send_when_idle: bool = False
    ordered: bool = False
    waits_for_store: bool = False
    """Whether a lane that has run before starts without its store, which is somewhere else and comes back by itself."""
    row_addresses: bool = False
    """Whether rows leave with delivery.ADDRESS_COLUMNS, for sinks that need to know where each came from."""
    deduplicate: Deduplicate | None = None
    start_from: StartFrom = StartFrom.EARLIEST
    retry: Retry = dataclasses.field(default_factory=Retry)
    unclassified_attempts: int = 8
    dead_letters: dialects.Dialect = dialects.Dialect.PENSTOCK
    flood: flood.Settings | None = dataclasses.field(default_factory=flood.Settings)
    circuit: breaker.Settings = dataclasses.field(default_factory=breaker.Settings)
    circuit_mode: breaker.Mode = breaker.Mode.AUTO
    hedging: hedging.Settings | None = None
    """When a slow write is sent a second time; None: never."""
    poll_bytes: int = 4 * 1024 * 1024
    decoded_bytes: int = 64 * 1024 * 1024
    transform_rows: int = 200_000
    transform_bytes: int = 64 * 1024 * 1024
    event_rows: int = 1_000_000
    event_bytes: int = 256 * 1024 * 1024
    memory_bytes: int = 256 * 1024 * 1024
    transform_memory_bytes: int = 1024 * 1024 * 1024
    row_bytes: int = 64 * 1024 * 1024
    """What expressions that multiply may make of one row."""
    transform_seconds: float = 60.0
    commit_seconds: float = 0.2
    snapshot_events: int = 200_000
    """At least so many events between two snapshots of the keys' state."""
    values: Callable[[], decode.Values] | None = None
    """Makes what reads the values of records, where events are records that others write; None where the log holds blocks."""
    record_format: deadletters.OriginalFormat = deadletters.OriginalFormat.JSON
    """How those values are written."""
    learn: Callable[[pa.BinaryArray], Awaitable[None]] | None = None
    """Awaited before values are read that the log has not given out: it learns what they need, such as the schemas they name.
    Raises LogUnavailableError while that can't be known."""
    failpoint: failpoints.Failpoint = failpoints.nothing
    alone: bool = True
    """Whether no other process can read as this lane, now or while it takes this one for dead."""
    revoke_seconds: float = 6.0
    """How long rows on their way may take to land when the partitions go to another process."""

    @property
    def lane(self) -> str:
        """The lane's full name, which is also its consumer group and what landed ranges are kept under."""
        return lane_name(self.namespace, self.pipeline, self.sink)

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every lane metric."""
        return {"pipeline": self.pipeline, "namespace": self.namespace, "sink": self.sink}


def followed(before: LaneSettings, wanted: LaneSettings) -> LaneSettings:
    """`before` with all of `wanted` that a running lane can take up."""
    return dataclasses.replace(before, **{name: getattr(wanted, name) for name in _LIVE})


_LIVE = (
    "write_model",
    "limits",
    "latency_objective_seconds",
    "send_when_idle",
    "retry",
    "unclassified_attempts",
    "circuit",
    "circuit_mode",
    "hedging",
)


def lane_name(namespace: str, pipeline: str, sink: str) -> str:
    """The full name of the lane to a sink."""
    return f"{namespace}/{pipeline}/{sink}"
