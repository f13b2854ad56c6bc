"""What the operator counts of itself."""

from __future__ import annotations

from typing import Final

import prometheus_client

from penstock.telemetry import metrics

_LOOKS: Final = prometheus_client.Counter(
    "penstock_operator_looks", "Looks at a pipeline, by outcome (quiet, acted, refused, failed, compiling).", ("outcome",),
    registry=metrics.REGISTRY,
)  # fmt: skip
_SECONDS: Final = prometheus_client.Histogram(
    "penstock_operator_look_seconds", "How long a look takes.", registry=metrics.REGISTRY,
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)  # fmt: skip
_WAITING: Final = prometheus_client.Gauge(
    "penstock_operator_queue_pipelines", "Pipelines that wait for a look.", registry=metrics.REGISTRY
)


def looked(outcome: str, seconds: float, waiting: int) -> None:
    """One look is over."""
    _LOOKS.labels(outcome=outcome).inc()
    _SECONDS.observe(seconds)
    _WAITING.set(waiting)
