"""Two pipelines and one topic: who goes on, who is told, and when that is over."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
from hypothesis import strategies
from tests.unit.operator import cluster

from penstock_operator import claims, names, reconcile, revision, snapshot
from penstock_operator.edge import claiming
from penstock_operator.planning import acceptance, plan
from penstock_operator.resources import config

_WEB = reconcile.PipelineRef(namespace="web", name="clicks")
_EVIL = reconcile.PipelineRef(namespace="evil", name="copy")


def _object(namespace: str = "web", name: str = "clicks", **spec: Any) -> dict[str, Any]:
    made = cluster.pipeline(name, **spec)
    return {**made, "metadata": {**made["metadata"], "namespace": namespace, "uid": f"{namespace}/{name}"}}


def _writer(topic: Any = "web.clicks.events", brokers: str = "kafka:9093", **spec: Any) -> dict[str, Any]:
    sink = {"name": "out", "type": "Kafka", "kafka": {"bootstrapServers": [brokers], "topic": topic}}
    return _object("evil", "copy", sinks=[sink], log={"type": "Kafka", "kafka": {"bootstrapServers": ["kafka.web:9093"]}}, **spec)


def _running(described: dict[str, Any]) -> revision.Revision:
    text = revision.as_text(revision.reduced(described, None))
    return revision.read(text, generation=1, uid=described["metadata"]["uid"])


def _held(described: dict[str, Any]) -> claims.Held:
    return claims.held(_running(described).pipeline)


def _record(described: dict[str, Any]) -> dict[str, Any]:
    return config.accepted(_running(described))


def _decided(described: dict[str, Any], *rivals: claims.Held, accepted: dict[str, Any] | None = None) -> acceptance.Decision:
    children = (_record(accepted),) if accepted else ()
    return acceptance.decide(snapshot.Snapshot(pipeline=described, children=children, rivals=rivals), cluster.SETTINGS)


@pytest.mark.parametrize("brokers", ["kafka.web:9093", "KAFKA.web.svc:9093", "kafka.web.svc.cluster.local:9093"])
@pytest.mark.parametrize("topic", ["web.clicks.events", "web.clicks.dead-letters", "web.clicks.replay.warehouse"])
def test_a_sink_into_the_log_of_a_pipeline_that_runs_is_not_started(topic: str, brokers: str) -> None:
    """Catches rows that somebody writes between another pipeline's blocks, and a Service that goes by another of its names."""
    decided = _decided(_writer(topic, brokers), _held(_object()))
    assert (decided.running, decided.reason) == (None, acceptance.CLAIMED)
    assert str(decided.problems[0]) == (
        f'spec.sinks[0].kafka.topic: "{topic}" is the log of pipeline web/clicks, which was there first\n'
        "    Write to another topic. Once web/clicks is gone, this is taken by itself."
    )
    assert plan.plan(snapshot.Snapshot(pipeline=_writer(topic, brokers), rivals=(_held(_object()),)), cluster.SETTINGS) == []


@pytest.mark.parametrize(
    ("topic", "brokers"),
    [("web.clicks.events", "elsewhere:9093"), ("web.clicks.enriched", "kafka.web:9093"), ("events", "kafka.web:9093")],
)
def test_other_topics_and_other_clusters_are_nobody_s_business(topic: str, brokers: str) -> None:
    """Catches a topic that is refused for beginning like a log's, and a mirror in another cluster."""
    assert _decided(_writer(topic, brokers), _held(_object())).problems == ()


def test_a_template_is_held_against_each_topic_it_may_make() -> None:
    """Catches a log that is reached through a template."""
    topic = {"template": "web.clicks.{kind}", "allowed": ["events", "other"], "otherwise": "rest"}
    schema = {"fields": [{"name": "kind", "type": "String"}]}
    assert _decided(_writer(topic, "kafka.web:9093", schema=schema), _held(_object())).reason == acceptance.CLAIMED


def test_a_running_pipeline_is_never_stopped_by_one_that_squats_on_its_name() -> None:
    """Catches somebody in another namespace who stops a pipeline by writing to its log's name, before or after."""
    squatter = _held(_writer("web.clicks.events", "kafka.web:9093"))
    running = _decided(_object(), squatter, accepted=_object())
    assert (running.problems, running.running is not None) == ((), True)
    edited = _decided(_object(deadLetters={"retentionHours": 2}), squatter, accepted=_object())
    assert edited.problems == ()
    assert edited.running is not None
    assert edited.running.data["spec"]["deadLetters"] == {"retentionHours": 2}


def test_a_new_pipeline_does_not_start_over_topics_that_somebody_writes_already() -> None:
    """Catches a log that is full of somebody's rows from the first minute."""
    decided = _decided(_object(), _held(_writer("web.clicks.events", "kafka.web:9093")))
    assert (decided.running, decided.reason, decided.problems[0].field) == (None, acceptance.CLAIMED, "metadata.name")
    assert "sink out of pipeline evil/copy" in decided.problems[0].message


def test_an_edit_that_would_write_into_another_s_log_leaves_the_accepted_running() -> None:
    """Catches a bad edit that takes away what ran before it."""
    decided = _decided(_writer("web.clicks.events", "kafka.web:9093"), _held(_object()), accepted=_writer("mine"))
    assert decided.reason == acceptance.CLAIMED
    assert decided.running is not None
    assert decided.running.data["spec"]["sinks"][0]["kafka"]["topic"] == "mine"


def test_a_sink_into_its_own_log_is_refused() -> None:
    """Catches a pipeline that feeds itself."""
    assert "own log" in _decided(_writer("evil.copy.events", "kafka.web:9093")).problems[0].message


_LABELS = strategies.from_regex(r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)


@hypothesis.given(_LABELS, _LABELS, strategies.sampled_from(["events", "dead-letters", "outcomes", "snapshots", "replay.a-b"]))
def test_the_log_a_topic_belongs_to_is_told_by_its_name(namespace: str, name: str, which: str) -> None:
    """Catches two pipelines whose logs would have one topic, and a log's topic that is not known as one."""
    assert claims.log_of(f"{namespace}.{name}.{which}") == f"{namespace}.{name}"


# -- who was first


def _claims(*accepted: dict[str, Any]) -> tuple[claiming.Claims, list[reconcile.PipelineRef]]:
    due: list[reconcile.PipelineRef] = []
    made = claiming.Claims(due.append)
    made.know(_record(one) for one in accepted)
    return made, due


def test_the_second_is_looked_at_again_when_the_first_is_gone_or_changed() -> None:
    """Catches a pipeline that is turned down for ever."""
    known, due = _claims(_object())
    second = _writer("web.clicks.events", "kafka.web:9093")
    (rival,) = known.rivals(second, ())
    assert rival.prefix == "web.clicks"
    known.forget(_WEB)
    assert due == [_EVIL]
    assert known.rivals(second, ()) == ()


def test_who_writes_to_nobody_s_log_has_no_rivals() -> None:
    """Catches looks that grow with the number of pipelines."""
    known, _ = _claims(_object(), _object("shop", "orders"))
    assert known.rivals(_object("a", "b"), ()) == ()
    assert known.rivals(_writer("plain"), ()) == ()


def test_of_two_that_are_accepted_in_the_same_moment_one_is_turned_back() -> None:
    """Catches two looks that both see nobody, and both start."""
    known, _ = _claims()
    known.take(_record(_object()))
    with pytest.raises(claiming.TakenError):
        known.take(_record(_writer("web.clicks.events", "kafka.web:9093")))
    known.take(_record(_object(deadLetters={"retentionHours": 2})))


def test_a_record_that_somebody_forged_for_another_pipeline_says_nothing() -> None:
    """Catches a ConfigMap in one's own namespace by which another namespace's pipeline can't start."""
    forged = _record(_object())
    known, _ = _claims()
    known.know([{**forged, "metadata": {**forged["metadata"], "namespace": "evil"}}])
    known.know([{**forged, "metadata": {**forged["metadata"], "name": names.accepted("other")}}])
    assert known.known == set()
