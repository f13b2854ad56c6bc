"""The status: each situation an admin may meet, as one row of a table; and when a status is written at all."""

from __future__ import annotations

import datetime
import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies
from tests.unit.operator import cluster

from penstock.api.model import status as model
from penstock_operator import snapshot
from penstock_operator.planning import plan
from penstock_operator.reporting import events, status, times

_NOW = datetime.datetime(2026, 1, 31, 8, tzinfo=datetime.UTC)
_LATER = _NOW + datetime.timedelta(minutes=1)


def _observed(now: datetime.datetime = _NOW, *refusals: snapshot.Refusal) -> snapshot.Observations:
    return snapshot.Observations(now=now, refusals=refusals)


def _up(**spec: Any) -> cluster.Cluster:
    """A pipeline whose pods are all ready."""
    there = cluster.Cluster(cluster.pipeline(**spec))
    for _ in range(6):
        for action in plan.plan(there.snapshot(), cluster.SETTINGS):
            there.take(action)
        there.settle_all()
    return there


def _lane(**changes: Any) -> snapshot.LaneReport:
    told: dict[str, Any] = {
        "sink": "warehouse",
        "state": "Running",
        "delivery_mode": "EffectivelyOnce",
        "delivery_reason": "InsertToken",
        "rows": 18_400,
        "latency_p99_seconds": 0.702,
        "ledger": snapshot.Ledger(read=1000, transformed=1000, made=3000, written=3000),
    }
    return snapshot.LaneReport(**{**told, **changes})


def _batcher(pod: str = "b-0", log_bytes: int = 1 << 20, **lane: Any) -> snapshot.PodReport:
    return snapshot.PodReport(pod=pod, role="batcher", log_id="7f", log_bytes=log_bytes, lanes=(_lane(**lane),))


def _door(log_bytes: int = 1 << 20) -> snapshot.PodReport:
    return snapshot.PodReport(pod="i-0", role="ingest", log_id="7f", log_bytes=log_bytes, accepted=1000)


def _current(there: cluster.Cluster, *reports: snapshot.PodReport, now: datetime.datetime = _NOW, **more: Any) -> dict[str, Any]:
    made = status.current(there.snapshot(*reports, **more), cluster.SETTINGS, _observed(now))
    model.Status.model_validate_json(json.dumps(made))
    return made


def _row(told: dict[str, Any]) -> tuple[str, str, str, str]:
    """Ready, Stalled, Landing, each with its reason where it says more than that all is well, and STATE."""
    shown = {}
    for one in told["conditions"]:
        good = one["status"] == ("False" if one["type"] == "Stalled" else "True")
        plain = good and one["reason"] in ("Accepting", "Settled", "Progressing", "Landing")
        shown[one["type"]] = one["status"] if plain else f"{one['status']} {one['reason']}"
    return shown["Ready"], shown["Stalled"], shown["Landing"], told["display"]["state"]


def _healthy() -> dict[str, Any]:
    return _current(_up(), _batcher(), _door())


def _rolling() -> dict[str, Any]:
    there = _up()
    there.edit(transform={"filter": {"expression": "true"}})
    for action in plan.plan(there.snapshot(), cluster.SETTINGS):
        there.take(action)
    there.step("clicks--warehouse-sink")
    return _current(there, _batcher(), _door())


def _bad_edit() -> dict[str, Any]:
    there = _up()
    there.edit(deadLetters={"retentionHours": 0})
    return _current(there, _batcher(), _door())


def _paused() -> dict[str, Any]:
    return _current(_up(lifecycle="Paused"), _batcher(state="Paused"), _door())


def _halted(code: str) -> dict[str, Any]:
    return _current(_up(), _batcher(state="Halted", message=f"{code}: it is so; do that"), _door())


def _no_pod() -> dict[str, Any]:
    there = _up()
    for name in there.deployments():
        there.objects["Deployment", name]["status"]["availableReplicas"] = 0
    there.pipeline["status"] = {"display": {"state": "Running"}, "conditions": [{"type": "Ready", "status": "True"}]}
    return _current(there)


_TABLE: list[tuple[str, Any, tuple[str, str, str, str]]] = [
    ("healthy", _healthy, ("True", "False", "True", "Running")),
    ("roll-out", _rolling, ("True", "False", "True", "Updating")),
    ("bad edit", _bad_edit, ("True", "True SpecInvalid", "True", "Stalled")),
    (
        "store down",
        lambda: _current(_up(), _batcher(circuit="Open", message="connection refused"), _door()),
        ("True", "False", "False CircuitOpen", "Degraded"),
    ),
    ("misconfigured", lambda: _halted("UNKNOWN_TABLE"), ("True", "False", "False SinkMisconfigured", "Halted")),
    ("flood", lambda: _halted("RejectFlood"), ("True", "False", "False RejectFlood", "Halted")),
    ("paused", _paused, ("True Paused", "False", "False Paused", "Paused")),
    ("gap", lambda: _halted("LogGap"), ("True", "True LogGap", "False LogGap", "Halted")),
    ("corrupt", lambda: _halted("CorruptBlock"), ("True", "True CorruptBlock", "False CorruptBlock", "Halted")),
    (
        "log away",
        lambda: _current(_up(), _batcher(log_bytes=0), _door(log_bytes=0)),
        ("False LogUnreachable", "False", "Unknown LogUnreachable", "Down"),
    ),
    ("no pod", _no_pod, ("False NoPodReady", "False", "Unknown NoBatcherAnswers", "Down")),
    (
        "first minute",
        lambda: _current(cluster.Cluster(cluster.pipeline())),
        ("False NoPodReady", "False", "Unknown NoBatcherAnswers", "Starting"),
    ),
    (
        "never valid",
        lambda: _current(cluster.Cluster(cluster.pipeline(log=None))),
        ("False SpecInvalid", "True SpecInvalid", "Unknown NothingRuns", "Stalled"),
    ),
    ("stopped", lambda: _current(_up(lifecycle="Stopped")), ("True Stopped", "False", "False Stopped", "Stopped")),
    (
        "draining",
        lambda: _current(_up(lifecycle="Draining"), _batcher(lag_events=5)),
        ("True Draining", "False", "True", "Draining"),
    ),
    ("drained", lambda: _current(_up(lifecycle="Draining"), _batcher()), ("True Drained", "False", "True", "Drained")),
]


@pytest.mark.parametrize(("situation", "expected"), [(make, row) for _, make, row in _TABLE], ids=[name for name, _, _ in _TABLE])
def test_each_situation_has_its_row(situation: Any, expected: tuple[str, str, str, str]) -> None:
    """Catches a condition that tells something else than docs/operator.md says it does."""
    assert _row(situation()) == expected


def test_a_pipeline_that_reads_topics_is_ready_when_its_batchers_are() -> None:
    """Catches one that never gets ready because it has no doors."""
    source = {"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9092"], "topics": ["orders"]}}
    assert _row(_current(_up(source=source, log=None), _batcher())) == ("True", "False", "True", "Running")


def test_the_sentence_says_what_is_wrong_for_how_long_and_that_nothing_is_lost() -> None:
    """Catches a message that makes somebody look further at three in the morning."""
    there = _up()
    log = {"bytes": 0}
    since = times.text(_NOW - datetime.timedelta(minutes=13))
    there.pipeline["status"] = {
        "observedAt": times.text(_NOW),
        "log": log,
        "lanes": [{"sink": "warehouse", "circuit": {"state": "Open", "since": since}}],
    }
    told = _current(there, _batcher(circuit="Open", message="connection refused", lag_events=2_100_000), _door(), now=_LATER)
    assert told["message"] == (
        "warehouse: circuit open 14m, connection refused; "
        "2.1M events wait in the log, 71d until the doors refuse; nothing is lost"
    )
    assert told["display"]["circuit"] == "1/1 Open"
    assert told["display"]["retain"] == "71d"
    assert told["lanes"][0]["circuit"]["since"] == since


def test_what_several_pods_say_adds_up() -> None:
    """Catches a lane whose counts are those of one pod, and an open circuit that a healthy pod hides."""
    told = _current(_up(), _batcher("b-0", lag_events=3), _batcher("b-1", lag_events=4, circuit="Open"), _door())
    (lane,) = told["lanes"]
    assert (lane["lag"]["events"], lane["ledger"]["events"]["read"]) == (7, 2000)
    assert (lane["circuit"]["state"], lane["circuit"]["replicasOpen"]) == ("Open", 1)


def test_counts_stay_while_no_pod_answers() -> None:
    """Catches a dead letter count of 0 because nobody was there to ask."""
    there = _up()
    there.pipeline["status"] = _current(there, _batcher(outstanding=18), _door())
    told = _current(there, now=_LATER)
    assert told["lanes"][0]["deadLetters"]["outstanding"] == 18
    assert told["lanes"][0]["state"] == "Unknown"
    assert told["display"]["dead"] == "-"


def test_rates_are_since_the_status_before() -> None:
    """Catches a rate over the whole life, and one of a count that went back."""
    there = _up()
    there.pipeline["status"] = _current(there, _batcher(), _door())
    more = snapshot.Ledger(read=1000 + 41_000 * 60)
    assert _current(there, _batcher(ledger=more), _door(), now=_LATER)["display"]["rate"] == "41k/s"
    assert _current(there, _batcher(ledger=snapshot.Ledger(read=5)), _door(), now=_LATER)["display"]["rate"] == "-"


def test_books_that_do_not_balance_are_told() -> None:
    """Catches an unexplained event that is only a number in a lane."""
    told = _current(_up(), _batcher(ledger=snapshot.Ledger(unexplained=2)), _door())
    assert ("Conserved", "False") in [(one["type"], one["status"]) for one in told["conditions"]]
    assert "can't place: warehouse 2" in told["message"]


@pytest.mark.parametrize(
    ("percent", "reason"), [(50, "RoomLeft"), (90, "LogNearlyFull"), (100, "LogFull")], ids=lambda value: str(value)
)
def test_a_log_that_fills_is_told_before_the_doors_refuse(percent: int, reason: str) -> None:
    """Catches a full log that is noticed by its clients."""
    told = _current(_up(), _batcher(log_bytes=(100 << 30) * percent // 100), _door(0))
    assert reason in [one["reason"] for one in told["conditions"] if one["type"] == "RetentionSafe"]


def test_records_that_their_topic_deletes_soon_are_told() -> None:
    """Catches a source whose unread records vanish while everything says it is well."""
    told = _current(_up(), _batcher(retention_used=0.85), _door())
    (safe,) = [one for one in told["conditions"] if one["type"] == "RetentionSafe"]
    assert (safe["status"], safe["reason"], "warehouse 85%" in safe["message"]) == ("False", "SourceDeletesSoon", True)
    assert told["lanes"][0]["lag"]["retentionUsedPercent"] == 85


def test_an_image_that_is_missing_needs_a_person_and_names_it() -> None:
    """Catches a roll-out that waits for ever without saying for what."""
    there = cluster.Cluster(cluster.pipeline())
    for action in plan.plan(there.snapshot(), cluster.SETTINGS):
        there.take(action)
    pod = {
        "metadata": {"name": "clicks-ingest-x"},
        "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]},
    }
    told = _current(there, pods=(pod,))
    assert _row(told)[1] == "True ImagePullBackOff"
    assert "clicks-ingest-x: no such image" in told["message"]


def test_what_a_pod_waits_for_is_told() -> None:
    """Catches a missing Secret that only the log of a pod knows of."""
    there = cluster.Cluster(cluster.pipeline())
    waiting = snapshot.PodReport(pod="i-0", role="ingest", message='secret "tokens" has no key "web"')
    assert 'ingest waits: secret "tokens" has no key "web"' in _current(there, waiting)["message"]


def test_a_quota_that_is_used_up_is_told_with_its_message() -> None:
    """Catches pods that never come, and a status that only says they are not ready."""
    there = _up()
    there.objects["Deployment", "clicks-ingest"]["status"].update(
        availableReplicas=0,
        conditions=[{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small"}],
    )
    assert "exceeded quota: small" in _current(there)["message"]


def test_what_the_cluster_refuses_is_told() -> None:
    """Catches an operator that tries for ever in silence."""
    refused = snapshot.Refusal(child="Service clicks-ingest", reason="NameTaken", message="is somebody else's")
    there = cluster.Cluster(cluster.pipeline())
    made = status.current(there.snapshot(), cluster.SETTINGS, _observed(_NOW, refused))
    assert "Service clicks-ingest: is somebody else's" in made["message"]


def test_a_bad_edit_is_told_with_field_value_and_remedy() -> None:
    """Catches "invalid" without a place, and line numbers of a text nobody wrote."""
    there = _up()
    there.edit(log={"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9093"], "partitions": 7}})
    told = _current(there, _batcher(), _door())
    (valid,) = [one["message"] for one in told["conditions"] if one["type"] == "SpecValid"]
    assert valid.startswith('spec.log.kafka.partitions: "7" can\'t change while events are unread; it is 6')
    assert "drain first" in valid
    assert told["message"].endswith("what was accepted before goes on")


# When it is written.


def _written(there: cluster.Cluster, *reports: snapshot.PodReport, after_seconds: float) -> bool:
    now = _NOW + datetime.timedelta(seconds=after_seconds)
    made = status.status(there.snapshot(*reports), cluster.SETTINGS, _observed(now))
    return made != there.pipeline["status"]


def _reported() -> cluster.Cluster:
    there = _up()
    there.pipeline["status"] = _current(there, _batcher(), _door())
    # A rate can be told from the second status on.
    there.pipeline["status"] = _current(there, _batcher(), _door())
    return there


def test_a_quiet_pipeline_writes_a_sign_of_life_and_nothing_else() -> None:
    """Catches an API write in each round, and a status that grows old while the operator lives."""
    there = _reported()
    quiet = (_batcher(), _door())
    assert [_written(there, *quiet, after_seconds=after) for after in (1, 29, 31, 599, 601)] == [False, False, False, False, True]


def test_counts_are_written_at_most_every_half_minute() -> None:
    """Catches a write per second under load."""
    there = _reported()
    busy = (_batcher(lag_events=9), _door())
    assert [_written(there, *busy, after_seconds=after) for after in (1, 29, 31)] == [False, False, True]


def test_a_condition_is_written_at_once() -> None:
    """Catches an outage that is told half a minute late."""
    assert _written(_reported(), _batcher(circuit="Open"), _door(), after_seconds=1)


def test_the_time_of_a_condition_is_that_of_its_change() -> None:
    """Catches a time that moves on with each status, which makes every tool think that something happened."""
    there = _reported()
    told = _current(there, _batcher(circuit="Open"), _door(), now=_LATER)
    since = {one["type"]: one["lastTransitionTime"] for one in told["conditions"]}
    assert (since["Landing"], since["Ready"]) == (times.text(_LATER), times.text(_NOW))


# Events.


def _told(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [f"{one.type} {one.reason}" for one in events.transitions(before, after)]


def test_an_outage_is_told_when_it_begins_and_when_it_is_over() -> None:
    """Catches an Event per round, one cause told three times, and an end that nobody hears of."""
    well = _healthy()
    away = _current(_up(), _batcher(circuit="Open", message="connection refused"), _door())
    assert _told(well, away) == ["Warning CircuitOpened"]
    assert _told(away, away) == []
    assert _told(away, well) == ["Normal CircuitClosed"]


def test_a_start_tells_only_that_it_is_up() -> None:
    """Catches warnings about a pipeline that is merely new."""
    first = _current(cluster.Cluster(cluster.pipeline()))
    assert _told({}, first) == []
    assert _told(first, _healthy()) == ["Normal Ready"]


def test_what_was_asked_for_is_no_warning() -> None:
    """Catches an alarm because somebody paused a pipeline."""
    assert _told(_healthy(), _paused()) == ["Normal Paused"]


def test_a_bad_edit_is_one_warning() -> None:
    """Catches one cause that shows in two conditions and is told twice."""
    assert _told(_healthy(), _bad_edit()) == ["Warning SpecInvalid"]


_WORDS = strategies.text(max_size=40)
_COUNTS = strategies.integers(0, 1 << 62)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    state=strategies.sampled_from(["Starting", "Running", "Paused", "Halted", "Draining", "Drained", "Newer"]),
    circuit=strategies.sampled_from(["Closed", "Open", "HalfOpen"]),
    message=_WORDS,
    counts=_COUNTS,
    seconds=strategies.floats(0, 1e9),
    log_bytes=_COUNTS,
    pods=strategies.integers(0, 3),
)
def test_whatever_pods_say_the_status_is_one_the_cluster_takes(
    state: str, circuit: str, message: str, counts: int, seconds: float, log_bytes: int, pods: int
) -> None:
    """Catches a text that is too long, a word the definition does not know, a fraction, and a state nobody thought of."""
    reports = [
        _batcher(
            f"b-{index}",
            log_bytes=log_bytes,
            state=state,
            circuit=circuit,
            message=message,
            oldest_unread_seconds=seconds,
            latency_p99_seconds=seconds,
            ledger=snapshot.Ledger(read=counts // 4),
            outstanding=counts // 4,
        )
        for index in range(pods)
    ]
    there = _SHARED
    first = _current(there, *reports)
    second = status.current(
        snapshot.Snapshot(**{**_fields(there.snapshot(*reports)), "pipeline": {**there.pipeline, "status": first}}),
        cluster.SETTINGS,
        _observed(_LATER),
    )
    model.Status.model_validate_json(json.dumps(second))
    assert not [one for one in events.transitions(first, second) if one.type == "Warning" and pods]


_SHARED = _up()


def _fields(of: snapshot.Snapshot) -> dict[str, Any]:
    return {name: getattr(of, name) for name in snapshot.Snapshot.__dataclass_fields__}
