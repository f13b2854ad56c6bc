"""Whether a pipeline has come to the end of its log."""

from __future__ import annotations

from penstock.api.model import pipeline as api_pipeline
from penstock.log import port
from penstock.machine import lanes


async def is_drained(log: port.EventLog, pipeline: api_pipeline.BatchPipeline) -> bool:
    """Whether every lane of `pipeline` has finished what stands in the log, and in its replay log. Raises LogError."""
    for sink in pipeline.spec.sinks:
        group = lanes.lane_for(pipeline, sink).lane
        # What a sink's old name has not replayed nobody would replay: its letters would be in the middle of it for ever.
        for topic in (port.EVENTS, port.replay_topic(sink.name)):
            if not await _is_finished(log, topic, group):
                return False
    return True


async def _is_finished(log: port.EventLog, topic: str, group: str) -> bool:
    commits = await log.committed(topic, group)
    for partition in range(log.partitions):
        bounds = await log.bounds(topic, partition)
        commit = commits.get(partition)
        if bounds.end > (commit.offset if commit else bounds.start):
            return False
    return True
