"""What one machine does with a pipeline object that was written for a cluster.

What only a cluster can do (replicas, service accounts) is named once and ignored. What would change where events come from
or where rows go is refused, unless the person who starts the pipeline says what to do instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.api.model import base, log, pipeline, sinks, stores
from penstock.core import errors

_SINKS_HERE = ("ClickHouse", "DuckDB", "Files", "HTTP", "Kafka", "Postgres")


def one_machine_problems(described: pipeline.BatchPipeline) -> list[errors.Problem]:
    """Why the pipeline, after `apply_overrides`, can't run on one machine; empty where it can."""
    return list(_sink_problems(described))


def process_problems(described: pipeline.BatchPipeline) -> list[errors.Problem]:
    """Why the pipeline can't run as several processes; empty where it can."""
    return [*one_machine_problems(described), *_log_problems(described)]


def for_processes(described: pipeline.BatchPipeline) -> pipeline.BatchPipeline:
    """The pipeline as several processes run it: where it names no log, a source in Kafka has what it writes itself there too."""
    source = described.spec.source.kafka
    if described.spec.log is not None or source is None:
        return described
    beside = log.KafkaLog(bootstrap_servers=source.bootstrap_servers, authentication=source.authentication, tls=source.tls)
    return described.model_copy(update={"spec": described.spec.model_copy(update={"log": log.Log(type="Kafka", kafka=beside)})})


def unmet_fields(described: pipeline.BatchPipeline) -> list[str]:
    """Fields that ask for what this release does not do yet, and without which the pipeline is still right."""
    unmet = ["spec.tracing"] if _is_set(described.spec, "tracing") else []
    for index, sink in enumerate(described.spec.sinks):
        at = f"spec.sinks[{index}]"
        unmet += (
            [f"{at}.batching.mode (Static is used)"] if _is_set(sink.batching, "mode") and sink.batching.mode != "Static" else []
        )
    return unmet


def ignored_fields(described: pipeline.BatchPipeline) -> list[str]:
    """The fields that were written and that mean nothing on one machine."""
    spec = described.spec
    ignored = [f"spec.{name}" for name in ("serviceAccountName", "pods", "updates") if _is_set(spec, name)]
    ignored += ["spec.source.ingest.replicas"] if spec.source.ingest and _is_set(spec.source.ingest, "replicas") else []
    for index, sink in enumerate(spec.sinks):
        at = f"spec.sinks[{index}]"
        ignored += [f"{at}.replicas"] if _is_set(sink, "replicas") else []
        # It takes a second sink process.
        ignored += [f"{at}.hedging"] if sink.hedging.mode != "Disabled" else []
    return ignored


def apply_overrides(
    described: pipeline.BatchPipeline, log_type: str | None, targets: Mapping[str, str]
) -> pipeline.BatchPipeline:
    """The pipeline with the log, and the sinks by name, that were asked for on the command line.

    `log_type` is "embedded"; a target is "duckdb:PATH" or "files:FOLDER". Raises InvalidPipelineError for any other, and for
    a sink that isn't there. A DuckDB target takes over the name of a database's table; else the table has the sink's name.
    """
    problems = list(_override_problems(described, log_type, targets))
    if problems:
        raise errors.InvalidPipelineError(problems)
    changed: dict[str, Any] = {}
    if log_type is not None:
        retention = described.spec.log.retention if described.spec.log else log.Retention()
        changed["log"] = log.Log(type="Embedded", retention=retention)
    if targets:
        changed["sinks"] = tuple(_retargeted(sink, targets.get(sink.name)) for sink in described.spec.sinks)
    return described.model_copy(update={"spec": described.spec.model_copy(update=changed)})


def _is_set(part: base.Model, alias: str) -> bool:
    fields = type(part).model_fields
    return any((fields[name].alias or name) == alias for name in part.model_fields_set)


def _log_problems(described: pipeline.BatchPipeline) -> Iterator[errors.Problem]:
    chosen = described.spec.log.type if described.spec.log else None
    if chosen != "Kafka":
        message = "can be open in one process only"
        remedy = "Use log type Kafka, or `penstock run`, which has everything in one process."
        yield errors.Problem(field="spec.log.type", value=chosen or "", message=message, remedy=remedy)


def _sink_problems(described: pipeline.BatchPipeline) -> Iterator[errors.Problem]:
    for index, sink in enumerate(described.spec.sinks):
        remedy = f"Start with --sink {sink.name}=duckdb:{sink.name}.duckdb or --sink {sink.name}=files:{sink.name}/ instead."
        if sink.start_from.type == "Time":
            message = "is not available on one machine yet"
            yield errors.Problem(
                field=f"spec.sinks[{index}].startFrom.type", value="Time", message=message, remedy="Use Earliest or Now."
            )
        if sink.type not in _SINKS_HERE:
            message = f"can't be written on one machine; {', '.join(_SINKS_HERE)} can"
            yield errors.Problem(field=f"spec.sinks[{index}].type", value=sink.type, message=message, remedy=remedy)
        elif sink.files is not None and not sink.files.url.startswith("file://"):
            message = "can't be written on one machine; file:// can"
            yield errors.Problem(field=f"spec.sinks[{index}].files.url", value=sink.files.url, message=message, remedy=remedy)


def _override_problems(
    described: pipeline.BatchPipeline, log_type: str | None, targets: Mapping[str, str]
) -> Iterator[errors.Problem]:
    if log_type not in (None, "embedded"):
        message, remedy = "is not a log that one machine has", "Use --log embedded."
        yield errors.Problem(field="--log", value=log_type or "", message=message, remedy=remedy)
    names = [sink.name for sink in described.spec.sinks]
    for name, target in targets.items():
        kind, _, place = target.partition(":")
        if name not in names:
            remedy = f"Sinks here: {', '.join(names)}."
            yield errors.Problem(field="--sink", value=name, message="names a sink that isn't in the pipeline", remedy=remedy)
        if kind not in ("duckdb", "files") or not place or any(character.isspace() for character in place):
            message, remedy = "is not a place one machine can write to", f"Use {name}=duckdb:FILE or {name}=files:FOLDER."
            yield errors.Problem(field="--sink", value=f"{name}={target}", message=message, remedy=remedy)


def _retargeted(sink: sinks.Sink, target: str | None) -> sinks.Sink:
    if target is None:
        return sink
    kind, _, place = target.partition(":")
    changed: dict[str, Any] = dict.fromkeys(("click_house", "postgres", "kafka", "files", "duckdb", "http", "custom"))
    if kind == "duckdb":
        changed |= {"type": "DuckDB", "duckdb": stores.DuckDB(path=place, table=_table(sink))}
    else:
        partition = sink.files.partition if sink.files else ()
        changed |= {"type": "Files", "files": stores.Files(url=_url(place), partition=partition)}
    # What the object says about tables and pods was said about the other store.
    return sink.model_copy(update=changed | {"table_policy": None})


def _table(sink: sinks.Sink) -> str | base.NameTemplate:
    with_table = sink.duckdb or sink.click_house or sink.postgres
    return with_table.table if with_table else sink.name.replace("-", "_")


def _url(place: str) -> str:
    if place.startswith("file://"):
        return place
    return f"file://{place}" if place.startswith("/") else f"file://./{place.removeprefix('./')}"
