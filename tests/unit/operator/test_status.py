"""The status: each situation an admin may meet, as one row of a table; and when a status is written at all."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies
from tests.unit.operator import cluster
from tests.unit.operator import situations as given

from penstock.api.model import status as model
from penstock_operator import snapshot
from penstock_operator.planning import plan
from penstock_operator.reporting import events, status, times

_TABLE: list[tuple[str, Any, tuple[str, str, str, str]]] = [
    ("healthy", given.healthy, ("True", "False", "True", "Running")),
    ("roll-out", given.rolling, ("True", "False", "True", "Updating")),
    ("bad edit", given.bad_edit, ("True", "True SpecInvalid", "True", "Stalled")),
    (
        "store down",
        lambda: given.current(given.up(), given.batcher(circuit="Open", message="connection refused"), given.door()),
        ("True", "False", "False CircuitOpen", "Degraded"),
    ),
    ("misconfigured", lambda: given.halted("UNKNOWN_TABLE"), ("True", "False", "False SinkMisconfigured", "Halted")),
    ("flood", lambda: given.halted("RejectFlood"), ("True", "False", "False RejectFlood", "Halted")),
    ("paused", given.paused, ("True Paused", "False", "False Paused", "Paused")),
    ("gap", lambda: given.halted("LogGap"), ("True", "True LogGap", "False LogGap", "Halted")),
    ("corrupt", lambda: given.halted("CorruptBlock"), ("True", "True CorruptBlock", "False CorruptBlock", "Halted")),
    (
        "log away",
        lambda: given.no_taker(given.batcher(away=given.AWAY), given.door(away=given.AWAY)),
        ("False LogUnreachable", "False", "Unknown LogUnreachable", "Down"),
    ),
    (
        "log refuses us",
        lambda: given.no_taker(given.batcher(away=given.REJECTED), given.door(away=given.REJECTED)),
        ("False CredentialsRejected", "False", "Unknown CredentialsRejected", "Down"),
    ),
    (
        "no Secret for the log",
        lambda: given.no_taker(given.door(away=given.MISSING, log_id="")),
        ("False SecretMissing", "False", "Unknown SecretMissing", "Down"),
    ),
    (
        "no Secret for the doors",
        lambda: given.no_taker(given.batcher(), given.door(away=given.MISSING)),
        ("False SecretMissing", "False", "True", "Down"),
    ),
    (
        "one of two pods can't reach the log",
        lambda: given.current(given.up(), given.batcher(away=given.AWAY), given.door()),
        ("True", "False", "True", "Running"),
    ),
    (
        "store refuses us",
        lambda: given.current(
            given.up(),
            given.batcher(circuit="Open", trouble=snapshot.Trouble(code="CREDENTIALS_REJECTED", message="who?")),
            given.door(),
        ),
        ("True", "False", "False CredentialsRejected", "Degraded"),
    ),
    (
        "Postgres refuses us",
        lambda: given.current(given.up(), given.batcher(trouble=snapshot.Trouble(code="28P01", message="who?")), given.door()),
        ("True", "False", "False CredentialsRejected", "Degraded"),
    ),
    (
        "no Secret for the store",
        lambda: given.current(
            given.up(),
            given.batcher(state="Starting", trouble=given.MISSING, message="SECRET: none"),
            given.door(),
        ),
        ("True", "False", "False SecretMissing", "Degraded"),
    ),
    (
        "no Secret for the store of a lane that had begun",
        lambda: given.current(
            given.up(),
            given.batcher(state="Halted", circuit="Open", trouble=given.MISSING, message="SECRET: none; add the key"),
            given.door(),
        ),
        ("True", "False", "False SecretMissing", "Degraded"),
    ),
    (
        "a gap, and the store away",
        lambda: given.current(
            given.up(),
            given.batcher(state="Halted", circuit="Open", trouble=given.GAP, message="LogGap: it is so; do that"),
            given.door(),
        ),
        ("True", "True LogGap", "False LogGap", "Halted"),
    ),
    ("no pod", given.no_pod, ("False NoPodReady", "False", "Unknown NoBatcherAnswers", "Down")),
    (
        "first minute",
        lambda: given.current(cluster.Cluster(cluster.pipeline())),
        ("False NoPodReady", "False", "Unknown NoBatcherAnswers", "Starting"),
    ),
    (
        "never valid",
        lambda: given.current(cluster.Cluster(cluster.pipeline(log=None))),
        ("False SpecInvalid", "True SpecInvalid", "Unknown NothingRuns", "Stalled"),
    ),
    (
        "stopped",
        lambda: given.current(given.up(lifecycle="Stopped")),
        ("True Stopped", "False", "False Stopped", "Stopped"),
    ),
    (
        "draining",
        lambda: given.current(given.up(lifecycle="Draining"), given.batcher(lag_events=5)),
        ("True Draining", "False", "True", "Draining"),
    ),
    (
        "drained",
        lambda: given.current(given.up(lifecycle="Draining"), given.batcher()),
        ("True Drained", "False", "True", "Drained"),
    ),
]


@pytest.mark.parametrize(("situation", "expected"), [(make, row) for _, make, row in _TABLE], ids=[name for name, _, _ in _TABLE])
def test_each_situation_has_its_row(situation: Any, expected: tuple[str, str, str, str]) -> None:
    """Catches a condition that tells something else than docs/operator.md says it does."""
    assert given.row(situation()) == expected


def test_doors_that_were_drained_are_not_ready_before_new_ones_take_events() -> None:
    """Catches `kubectl wait` that returns while all events are still refused, and a pipeline that is called down for it."""
    refusing = snapshot.PodReport(pod="i", role="ingest", lifecycle="Drained", log_id="7f", log_bytes=1)
    both = (refusing, dataclasses.replace(refusing, pod="j"))
    assert given.row(given.current(given.up(), given.batcher(), *both)) == ("False Reopening", "False", "True", "Updating")
    assert given.row(given.current(given.up(), given.batcher(), refusing, given.door()))[0] == "True"


def test_a_pipeline_that_reads_topics_is_ready_when_its_batchers_are() -> None:
    """Catches one that never gets ready because it has no doors."""
    source = {"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9092"], "topics": ["orders"]}}
    assert given.row(given.current(given.up(source=source, log=None), given.batcher())) == (
        "True",
        "False",
        "True",
        "Running",
    )


def test_the_sentence_says_what_is_wrong_for_how_long_and_that_nothing_is_lost() -> None:
    """Catches a message that makes somebody look further at three in the morning."""
    there = given.up()
    log = {"bytes": 0}
    since = times.text(given.NOW - datetime.timedelta(minutes=13))
    there.pipeline["status"] = {
        "observedAt": times.text(given.NOW),
        "log": log,
        "lanes": [{"sink": "warehouse", "circuit": {"state": "Open", "since": since}}],
    }
    told = given.current(
        there,
        given.batcher(circuit="Open", message="connection refused", lag_events=2_100_000),
        given.door(),
        now=given.LATER,
    )
    assert told["message"] == (
        "warehouse: circuit open 14m, connection refused; "
        "2.1M events wait in the log, 71d until the doors refuse; nothing is lost"
    )
    assert told["display"]["circuit"] == "1/1 Open"
    assert told["display"]["retain"] == "71d"
    assert told["lanes"][0]["circuit"]["since"] == since


def test_what_several_pods_say_adds_up() -> None:
    """Catches a lane whose counts are those of one pod, and an open circuit that a healthy pod hides."""
    told = given.current(
        given.up(),
        given.batcher("b-0", lag_events=3),
        given.batcher("b-1", lag_events=4, circuit="Open"),
        given.door(),
    )
    (lane,) = told["lanes"]
    assert (lane["lag"]["events"], lane["ledger"]["events"]["read"]) == (7, 2000)
    assert (lane["circuit"]["state"], lane["circuit"]["replicasOpen"]) == ("Open", 1)


def test_counts_stay_while_no_pod_answers() -> None:
    """Catches a dead letter count of 0 because nobody was there to ask."""
    there = given.up()
    there.pipeline["status"] = given.current(there, given.batcher(outstanding=18), given.door())
    told = given.current(there, now=given.LATER)
    assert told["lanes"][0]["deadLetters"]["outstanding"] == 18
    assert told["lanes"][0]["state"] == "Unknown"
    assert told["display"]["dead"] == "-"


def test_rates_are_since_the_status_before() -> None:
    """Catches a rate over the whole life, and one of a count that went back."""
    there = given.up()
    there.pipeline["status"] = given.current(there, given.batcher(), given.door())
    more = snapshot.Ledger(read=1000 + 41_000 * 60)
    assert given.current(there, given.batcher(ledger=more), given.door(), now=given.LATER)["display"]["rate"] == "41k/s"
    assert (
        given.current(there, given.batcher(ledger=snapshot.Ledger(read=5)), given.door(), now=given.LATER)["display"]["rate"]
        == "-"
    )


def test_books_that_do_not_balance_are_told() -> None:
    """Catches an unexplained event that is only a number in a lane."""
    told = given.current(given.up(), given.batcher(ledger=snapshot.Ledger(unexplained=2)), given.door())
    assert ("Conserved", "False") in [(one["type"], one["status"]) for one in told["conditions"]]
    assert "can't place: warehouse 2" in told["message"]


@pytest.mark.parametrize(
    ("percent", "reason"), [(50, "RoomLeft"), (90, "LogNearlyFull"), (100, "LogFull")], ids=lambda value: str(value)
)
def test_a_log_that_fills_is_told_before_the_doors_refuse(percent: int, reason: str) -> None:
    """Catches a full log that is noticed by its clients."""
    told = given.current(given.up(), given.batcher(log_bytes=(100 << 30) * percent // 100), given.door(0))
    assert reason in [one["reason"] for one in told["conditions"] if one["type"] == "RetentionSafe"]


def test_records_that_their_topic_deletes_soon_are_told() -> None:
    """Catches a source whose unread records vanish while everything says it is well."""
    told = given.current(given.up(), given.batcher(retention_used=0.85), given.door())
    (safe,) = [one for one in told["conditions"] if one["type"] == "RetentionSafe"]
    assert (safe["status"], safe["reason"], "warehouse 85%" in safe["message"]) == ("False", "SourceDeletesSoon", True)
    assert told["lanes"][0]["lag"]["retentionUsedPercent"] == 85


def test_an_edit_that_nothing_has_been_done_about_yet_is_not_settled() -> None:
    """Catches a new generation called settled because the old one's pods are well: `kubectl wait` would return too soon."""
    there = given.up()
    there.edit(transform={"filter": {"expression": "type <> 'heartbeat'"}})
    told = given.current(there, given.batcher(), given.door())
    (reconciling,) = [one["status"] for one in told["conditions"] if one["type"] == "Reconciling"]
    assert (reconciling, told["display"]["state"]) == ("True", "Updating")


def test_an_image_that_is_missing_needs_a_person_and_names_it() -> None:
    """Catches a roll-out that waits for ever without saying for what."""
    there = cluster.Cluster(cluster.pipeline())
    for action in plan.plan(there.snapshot(), cluster.SETTINGS):
        there.take(action)
    pod = {
        "metadata": {"name": "clicks-ingest-x"},
        "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]},
    }
    told = given.current(there, pods=(pod,))
    assert given.row(told)[1] == "True ImagePullBackOff"
    assert "clicks-ingest-x: no such image" in told["message"]


def test_what_a_pod_waits_for_is_told() -> None:
    """Catches a missing Secret that only the log of a pod knows of."""
    there = cluster.Cluster(cluster.pipeline())
    waiting = snapshot.PodReport(pod="i-0", role="ingest", message='secret "tokens" has no key "web"')
    assert 'ingest waits: secret "tokens" has no key "web"' in given.current(there, waiting)["message"]


def test_a_quota_that_is_used_up_is_told_with_its_message() -> None:
    """Catches pods that never come, and a status that only says they are not ready."""
    there = given.up()
    there.objects["Deployment", "clicks-ingest"]["status"].update(
        availableReplicas=0,
        conditions=[{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small"}],
    )
    assert "exceeded quota: small" in given.current(there)["message"]


def test_what_the_cluster_refuses_is_told() -> None:
    """Catches an operator that tries for ever in silence."""
    refused = snapshot.Refusal(child="Service clicks-ingest", reason="NameTaken", message="is somebody else's")
    there = cluster.Cluster(cluster.pipeline())
    made = status.current(there.snapshot(), cluster.SETTINGS, given.observed(given.NOW, refused))
    assert "Service clicks-ingest: is somebody else's" in made["message"]


def test_a_bad_edit_is_told_with_field_value_and_remedy() -> None:
    """Catches "invalid" without a place, and line numbers of a text nobody wrote."""
    there = given.up()
    there.edit(log={"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9093"], "partitions": 7}})
    told = given.current(there, given.batcher(), given.door())
    (valid,) = [one["message"] for one in told["conditions"] if one["type"] == "SpecValid"]
    assert valid.startswith('spec.log.kafka.partitions: "7" can\'t change while events are unread; it is 6')
    assert "; it is 6. Keep it" in valid
    assert valid.endswith("has landed")
    assert told["message"].endswith("what was accepted before goes on")


# When it is written.


def _written(there: cluster.Cluster, *reports: snapshot.PodReport, after_seconds: float) -> bool:
    now = given.NOW + datetime.timedelta(seconds=after_seconds)
    made = status.status(there.snapshot(*reports), cluster.SETTINGS, given.observed(now))
    return made != there.pipeline["status"]


def _reported() -> cluster.Cluster:
    there = given.up()
    there.pipeline["status"] = given.current(there, given.batcher(), given.door())
    # A rate can be told from the second status on.
    there.pipeline["status"] = given.current(there, given.batcher(), given.door())
    return there


def test_a_quiet_pipeline_writes_a_sign_of_life_and_nothing_else() -> None:
    """Catches an API write in each round, and a status that grows old while the operator lives."""
    there = _reported()
    quiet = (given.batcher(), given.door())
    assert [_written(there, *quiet, after_seconds=after) for after in (1, 29, 31, 599, 601)] == [False, False, False, False, True]


def test_counts_are_written_at_most_every_half_minute() -> None:
    """Catches a write per second under load."""
    there = _reported()
    busy = (given.batcher(lag_events=9), given.door())
    assert [_written(there, *busy, after_seconds=after) for after in (1, 29, 31)] == [False, False, True]


def test_a_condition_is_written_at_once() -> None:
    """Catches an outage that is told half a minute late."""
    assert _written(_reported(), given.batcher(circuit="Open"), given.door(), after_seconds=1)


def test_the_time_of_a_condition_is_that_of_its_change() -> None:
    """Catches a time that moves on with each status, which makes every tool think that something happened."""
    there = _reported()
    told = given.current(there, given.batcher(circuit="Open"), given.door(), now=given.LATER)
    since = {one["type"]: one["lastTransitionTime"] for one in told["conditions"]}
    assert (since["Landing"], since["Ready"]) == (times.text(given.LATER), times.text(given.NOW))


_WORDS = strategies.text(max_size=40)
_COUNTS = strategies.integers(0, 1 << 62)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    state=strategies.sampled_from(["Starting", "Running", "Paused", "Halted", "Draining", "Drained", "Newer"]),
    circuit=strategies.sampled_from(["Closed", "Open", "HalfOpen", "", "Newer"]),
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
        given.batcher(
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
    first = given.current(there, *reports)
    second = status.current(
        snapshot.Snapshot(**{**_fields(there.snapshot(*reports)), "pipeline": {**there.pipeline, "status": first}}),
        cluster.SETTINGS,
        given.observed(given.LATER),
    )
    model.Status.model_validate_json(json.dumps(second))
    assert not [one for one in events.transitions(first, second) if one.type == "Warning" and pods]


_SHARED = given.up()


def _fields(of: snapshot.Snapshot) -> dict[str, Any]:
    return {name: getattr(of, name) for name in snapshot.Snapshot.__dataclass_fields__}
