"""Where this process's time has gone, by stage: what several metrics say, for whoever asks the process itself."""

from __future__ import annotations

import collections

from prometheus_client import metrics as client
from prometheus_client import samples

from penstock.telemetry import metrics

ORDER = ("read", "decode", "deduplicate", "state", "explode", "transform", "form", "encode", "produce")
"""As events pass them."""


def seconds() -> dict[str, float]:
    """Since the start, of all lanes and sinks here; CPU time but for what a sink waits for."""
    found: dict[str, float] = collections.defaultdict(float)
    for one in _samples(metrics.SOURCE_READ_SECONDS, "_total"):
        found["read"] += one.value
    for one in _samples(metrics.LANE_STAGE_SECONDS, "_total"):
        found[one.labels["stage"]] += one.value
    for one in _samples(metrics.SINK_STAGE_SECONDS, "_sum"):
        found[one.labels["stage"]] += one.value
    return {stage: value for stage, value in found.items() if value}


def _samples(metric: client.MetricWrapperBase, ending: str) -> list[samples.Sample]:
    return [one for family in metric.collect() for one in family.samples if one.name.endswith(ending)]
