"""What is wrong with a replay before anything is made for it: a reference that leads nowhere, or what no pod can do.

Most of it may become right without the object changing, so it is a condition and not an end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

from penstock.api import load
from penstock.api.model import replay as api_replay
from penstock.core import errors
from penstock_operator import revision, snapshot
from penstock_operator.planning import places
from penstock_operator.replaying import situation
from penstock_operator.resources import config

_INVALID: Final = "SpecInvalid"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a replay can't be done now. `reason` is one word, the message says the way out."""

    reason: str
    message: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A replay that can be done: the object, checked, the pipeline it runs against, and the sinks whose lanes it needs."""

    replay: api_replay.DeadLetterReplay
    running: revision.Revision
    sinks: frozenset[str]


def asked(replay: snapshot.Manifest, here: situation.Situation) -> Asked | Trouble:
    """What is asked for, or the first trouble with it."""
    try:
        told = _read(replay)
    except errors.InvalidPipelineError as error:
        return _invalid(error.problems[0])
    running = _running(here)
    if isinstance(running, Trouble):
        return running
    if problem := next(_problems(told, running), None):
        return _invalid(problem)
    sinks = told.spec.select.sinks or [sink.name for sink in running.pipeline.spec.sinks]
    return Asked(replay=told, running=running, sinks=frozenset(sinks))


def written(replay: snapshot.Manifest) -> dict[str, Any]:
    """The object as its pod reads it: when it was made says where it ends, and whether it goes now is not the pod's matter."""
    metadata = {key: replay["metadata"][key] for key in ("name", "namespace", "creationTimestamp") if key in replay["metadata"]}
    spec = {key: value for key, value in replay["spec"].items() if key not in ("suspend", "ttlSecondsAfterFinished")}
    return {"apiVersion": replay["apiVersion"], "kind": situation.KIND, "metadata": metadata, "spec": spec}


def _read(replay: snapshot.Manifest) -> api_replay.DeadLetterReplay:
    [loaded] = load.read(revision.as_text(written(replay)).encode())
    assert isinstance(loaded.object, api_replay.DeadLetterReplay)  # noqa: S101 - its kind is ours
    return loaded.object


def _running(here: situation.Situation) -> revision.Revision | Trouble:
    if here.pipeline is None:
        message = (
            f'spec.pipelineRef.name: there is no BatchPipeline "{here.name}" in the namespace {here.namespace}: make it there '
            "(letters of another namespace are replayed by an object in that namespace)"
        )
        return Trouble(reason="PipelineMissing", message=message)
    children = (here.accepted,) if here.accepted else ()
    live = snapshot.Snapshot(pipeline=here.pipeline, children=children)
    try:
        found = config.read_accepted(live)
    except errors.InvalidPipelineError:
        found = None
    if found is None:
        message = f"the BatchPipeline {here.name} was never accepted: its condition SpecValid says why"
        return Trouble(reason="PipelineNotAccepted", message=message)
    if found.lifecycle == "Stopped":
        message = f"the BatchPipeline {here.name} is stopped, so no lane could land anything: set its spec.lifecycle to Running"
        return Trouble(reason="PipelineStopped", message=message)
    return found


def _problems(told: api_replay.DeadLetterReplay, running: revision.Revision) -> Iterator[errors.Problem]:
    spec = told.spec
    if spec.action == "Export":
        message = "writes a file, and a pod has none that lasts"
        remedy = f"Run kubectl penstock dlq {running.name} export FILE, or use another action."
        yield errors.Problem(field="spec.action", value="Export", message=message, remedy=remedy)
    sinks = [sink.name for sink in running.pipeline.spec.sinks]
    for name in spec.select.sinks:
        if name not in sinks:
            message, remedy = "is no sink of the pipeline", f"It has {', '.join(sinks)}."
            yield errors.Problem(field="spec.select.sinks", value=name, message=message, remedy=remedy)
    yield from _topic_problems(told, running, sinks)


def _topic_problems(told: api_replay.DeadLetterReplay, running: revision.Revision, sinks: list[str]) -> Iterator[errors.Problem]:
    topic = told.spec.source.kafka_topic
    if topic is None:
        return
    if not told.spec.select.sinks and len(sinks) > 1:
        message = "is missing: letters of a topic go to one sink, and the pipeline has several"
        yield errors.Problem(field="spec.select.sinks", value="", message=message, remedy=f"Name one of {', '.join(sinks)}.")
    if topic.topic.startswith(f"{running.namespace}.{running.name}."):
        message, remedy = "is the pipeline's own", "Use source type Pipeline."
        yield errors.Problem(field="spec.source.kafkaTopic.topic", value=topic.topic, message=message, remedy=remedy)
    for index, server in enumerate(topic.bootstrap_servers or ()):
        host = server.rpartition(":")[0]
        if reason := places.refused(host):
            field = f"spec.source.kafkaTopic.bootstrapServers[{index}]"
            yield errors.Problem(field=field, value=host, message=reason, remedy="Name the brokers by their Service or host.")


def _invalid(problem: errors.Problem) -> Trouble:
    return Trouble(reason=_INVALID, message=dataclasses.replace(problem, line=0).sentence)
