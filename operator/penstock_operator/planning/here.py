"""What a pipeline can't ask of a cluster: stores and logs that are files of one machine, and what no pod can do yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from penstock.api.model import pipeline as api_pipeline
from penstock.core import errors
from penstock_operator.planning import places

_SINKS: Final = ("ClickHouse", "HTTP", "Kafka", "Postgres")


def problems(described: api_pipeline.BatchPipeline) -> list[errors.Problem]:
    """Why the pipeline can't run in a cluster; empty where it can."""
    return [*_log(described), *_sinks(described), *places.problems(described)]


def _log(described: api_pipeline.BatchPipeline) -> Iterator[errors.Problem]:
    chosen = described.spec.log
    if described.spec.source.kafka and chosen is None:
        return  # its log is on the brokers of its source
    if chosen is None or chosen.type is None:
        message = "is not set, and this cluster has no default log"
        remedy = "Name a Kafka cluster under spec.log.kafka, or give the operator one (chart value log)."
        yield errors.Problem(field="spec.log", value="", message=message, remedy=remedy)
    elif chosen.type != "Kafka":
        message, remedy = "is a file of one machine, and pods share none", "Use type Kafka, or leave spec.log out."
        yield errors.Problem(field="spec.log.type", value=chosen.type, message=message, remedy=remedy)


def _sinks(described: api_pipeline.BatchPipeline) -> Iterator[errors.Problem]:
    for index, sink in enumerate(described.spec.sinks):
        at = f"spec.sinks[{index}]"
        if sink.type not in _SINKS:
            message = f"can't be written by pods in this release; {', '.join(_SINKS)} can"
            yield errors.Problem(field=f"{at}.type", value=sink.type, message=message, remedy="Use one of these.")
        if sink.start_from.type == "Time":
            message, remedy = "is not available in this release", "Use Earliest or Now."
            yield errors.Problem(field=f"{at}.startFrom.type", value="Time", message=message, remedy=remedy)
