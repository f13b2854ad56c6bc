"""The statuses of a pipeline's processes as one: each partition is one process's, so its figures are added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from penstock.v1 import control_pb2

_Counts = TypeVar("_Counts", control_pb2.IngestStatus, control_pb2.Ledger, control_pb2.Replays, control_pb2.Hedges)

_WORST_FIRST = ("Halted", "Paused", "Starting", "Draining", "Running", "Drained")
_CIRCUITS = ("Open", "HalfOpen", "Closed")


def added(statuses: Sequence[control_pb2.StatusResponse]) -> control_pb2.StatusResponse:
    """One status of them all; that of the only one as it is."""
    if len(statuses) == 1:
        return statuses[0]
    first = statuses[0]
    lanes: dict[str, control_pb2.LaneStatus] = {}
    for status in statuses:
        for lane in status.lanes:
            lanes[lane.sink] = _lane(lanes[lane.sink], lane) if lane.sink in lanes else lane
    return control_pb2.StatusResponse(
        namespace=first.namespace,
        pipeline=first.pipeline,
        lifecycle=next((status.lifecycle for status in statuses if status.lifecycle != "Running"), "Running"),
        log_id=next((status.log_id for status in statuses if status.log_id), ""),
        log_bytes=max(status.log_bytes for status in statuses),
        ingest=_sum(control_pb2.IngestStatus(), [status.ingest for status in statuses]),
        lanes=lanes.values(),
        uptime_seconds=max(status.uptime_seconds for status in statuses),
        cpu_seconds=sum(status.cpu_seconds for status in statuses),
        stage_seconds=_stages(statuses),
        retired=next((status.retired for status in statuses if status.retired), []),
        message="; ".join(dict.fromkeys(status.message for status in statuses if status.message)),
    )


def _stages(statuses: Sequence[control_pb2.StatusResponse]) -> dict[str, float]:
    names = {name for status in statuses for name in status.stage_seconds}
    return {name: sum(status.stage_seconds[name] for status in statuses) for name in names}


def _lane(one: control_pb2.LaneStatus, other: control_pb2.LaneStatus) -> control_pb2.LaneStatus:
    """Sums, and of what can't be added the worst."""
    made = control_pb2.LaneStatus()
    made.CopyFrom(one)
    made.state = min(one.state, other.state, key=_place(_WORST_FIRST))
    made.circuit = min(one.circuit, other.circuit, key=_place(_CIRCUITS))
    made.message = "; ".join(dict.fromkeys(text for text in (one.message, other.message) if text))
    made.lag.events = one.lag.events + other.lag.events
    made.lag.oldest_unread_seconds = max(one.lag.oldest_unread_seconds, other.lag.oldest_unread_seconds)
    made.lag.retention_used = max(one.lag.retention_used, other.lag.retention_used)
    _sum(made.ledger, [other.ledger])
    _sum(made.replays, [other.replays])
    _sum(made.hedges, [other.hedges])
    # Each process sees the same endpoints; the one that sees the fewest well knows the most.
    made.endpoints.CopyFrom(min(one.endpoints, other.endpoints, key=lambda each: each.well))
    made.pressure = max(one.pressure, other.pressure)
    made.dead_letters_written += other.dead_letters_written
    made.partitions[:] = sorted({*one.partitions, *other.partitions})
    _add_letters(made.dead_letters, other.dead_letters)
    for reason, count in other.flushes.items():
        made.flushes[reason] += count
    batches = one.batching.batches + other.batching.batches
    rows = sum(each.batching.batches * each.batching.mean_rows for each in (one, other))
    made.batching.batches, made.batching.mean_rows = batches, rows / batches if batches else 0.0
    made.batching.concurrency = one.batching.concurrency + other.batching.concurrency
    made.batching.latency_p99_seconds = max(one.batching.latency_p99_seconds, other.batching.latency_p99_seconds)
    return made


def _add_letters(into: control_pb2.DeadLetters, other: control_pb2.DeadLetters) -> None:
    into.outstanding += other.outstanding
    into.replayed += other.replayed
    into.expired += other.expired
    into.discarded += other.discarded
    for category, count in other.by_category.items():
        into.by_category[category] += count


def _sum(into: _Counts, others: Sequence[_Counts]) -> _Counts:
    """Add the counts of messages that hold nothing else."""
    for other in others:
        for field, value in other.ListFields():
            setattr(into, field.name, getattr(into, field.name) + value)
    return into


def _place(order: Sequence[str]) -> Callable[[str], int]:
    return lambda name: order.index(name) if name in order else len(order)
