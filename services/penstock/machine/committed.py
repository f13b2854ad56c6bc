"""What a log says of its lanes when nobody who runs is asked: how far they have committed, and the ledgers beside that."""

from __future__ import annotations

from penstock.api.model import pipeline as api_pipeline
from penstock.api.model import sinks as api_sinks
from penstock.batcher import lag
from penstock.batcher import status as lane_status
from penstock.core import ledger
from penstock.log import port
from penstock.machine import lanes
from penstock.v1 import control_pb2

STATE = "Unasked"
"""In place of a lane's state, which only its process knows."""


async def status(pipeline: api_pipeline.BatchPipeline, log: port.EventLog, now: float) -> control_pb2.StatusResponse:
    """Of all lanes. `now`: seconds on some clock, in place of the uptime, so that rates can be made of two. Raises LogError."""
    return control_pb2.StatusResponse(
        namespace=pipeline.metadata.namespace,
        pipeline=pipeline.metadata.name,
        lifecycle=STATE,
        log_id=log.log_id,
        log_bytes=await log.size_bytes(),
        lanes=[await _lane(pipeline, sink, log) for sink in pipeline.spec.sinks],
        uptime_seconds=now,
        message="as committed in the log; ask the processes with --at for the rest",
    )


async def _lane(pipeline: api_pipeline.BatchPipeline, sink: api_sinks.Sink, log: port.EventLog) -> control_pb2.LaneStatus:
    commits = await log.committed(port.EVENTS, lanes.lane_for(pipeline, sink).lane)
    finished = await lag.finished_below(log, commits)
    totals = sum((ledger.from_metadata(commit.metadata).counts for commit in commits.values()), ledger.Counts())
    events, oldest = await lag.measured(log, finished, of_blocks=pipeline.spec.source.type != "Kafka")
    return control_pb2.LaneStatus(
        sink=sink.name,
        state=STATE,
        lag=control_pb2.Lag(events=events, oldest_unread_seconds=oldest),
        ledger=lane_status.ledger_message(totals, 0, 0, totals.unexplained()),
    )
