"""Replays planned and reported over the model of a cluster."""

from __future__ import annotations

import copy
import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator import cluster, replays

from penstock.core import runs
from penstock_operator import snapshot
from penstock_operator.replaying import actions, manifests, situation, standing, status

_DONE = runs.Report(phase=runs.Phase.COMPLETE, message="18 put back", selected=18, replayed=18, landed=17, failed=1)
_STOPPED = runs.Report(phase=runs.Phase.SUSPENDED, message="30 of 100 failed again", selected=500, replayed=100, failed=30)


def _described(there: replays.Cluster) -> list[str]:
    return [actions.described(one) for one in there.planned()]


def test_a_replay_is_made_and_then_left_alone() -> None:
    """Catches a Job before the file that its pod reads, and a plan that never comes to rest."""
    there = replays.Cluster(replays.replay())
    assert _described(there) == ["apply ConfigMap again-file", "apply NetworkPolicy again-pods", "apply Job again-replay"]
    there.settle()
    assert there.condition("again", "Reconciling") == ("True", "Running")
    assert there.planned() == []
    there.end("again-replay", _DONE)
    there.settle()
    assert there.condition("again", "Complete") == ("True", "Replayed")
    told = there.replays["again"]["status"]
    assert {one["type"]: one["status"] for one in told["conditions"]} == {
        "Complete": "True",
        "Failed": "False",
        "Suspended": "False",
        "Reconciling": "False",
        "Stalled": "False",
    }
    assert (told["selected"], told["landed"], told["failed"]) == (18, 17, 1)


def test_a_pod_is_given_as_little_as_it_needs() -> None:
    """Catches a pod that the restricted standard refuses, one that is shown the store's password, an image of the author's
    choice, and a Job that gives up for good because its node was emptied."""
    there = replays.Cluster(replays.replay())
    there.settle()
    [job] = there.jobs().values()
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["image"] == cluster.SETTINGS.images["batcher"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert [one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one] == ["clicks-token"]
    assert job["spec"]["podFailurePolicy"]["rules"][0] == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }
    assert container["args"] == manifests.command()


def test_one_at_a_time_has_a_lane_and_the_others_say_whom_they_wait_for() -> None:
    """Catches two Jobs on one lane, a wait without a name, and one that goes on for ever behind what is done."""
    there = replays.Cluster(
        replays.replay("first", number=1, select={"sinks": ["warehouse"]}),
        replays.replay("all", number=2),
        replays.replay("lake", number=3, select={"sinks": ["lake"]}),
        replays.replay("counts", number=4, action="DryRun"),
    )
    there.settle()
    # `lake` is younger than `all`, which gets no lane before it has all of them; nobody is held up by who only waits.
    assert sorted(there.going()) == ["counts-dryrun", "first-replay", "lake-replay"]
    assert there.condition("all", "Reconciling") == ("True", "Waiting")
    assert there.message("all") in {
        f"waits until {name} is done, which has the lane of {sink}; one replay at a time has a lane"
        for name, sink in (("first", "warehouse"), ("lake", "lake"))
    }
    there.end("first-replay", _DONE)
    there.end("lake-replay", _DONE)
    there.settle()
    assert "all-replay" in there.going()


def test_one_that_has_a_lane_keeps_it_when_an_older_one_is_let_go() -> None:
    """Catches a running Job that is held because an older object came back."""
    there = replays.Cluster(replays.replay("old", number=1, suspend=True), replays.replay("young", number=2))
    there.settle()
    assert there.going() == ["young-replay"]
    there.edit("old", suspend=False)
    there.settle()
    assert there.going() == ["young-replay"]
    assert "waits until young" in there.message("old")


def test_suspend_and_rate_reach_the_job() -> None:
    """Catches a field that may change and does nothing."""
    there = replays.Cluster(replays.replay())
    there.settle()
    there.edit("again", suspend=True, eventsPerSecond=7)
    assert _described(there) == ["hold Job again-replay"]
    there.settle()
    assert there.condition("again", "Suspended") == ("True", "Asked")
    assert there.replays["again"]["status"]["selected"] == 4
    there.edit("again", suspend=False)
    there.settle()
    assert there.going() == ["again-replay"]
    assert there.rates == {"again-replay": 7}
    assert 'eventsPerSecond": 7' in there.objects["ConfigMap", "again-file"]["data"]["replay.yaml"]


def test_too_many_failures_stop_it_until_a_person_lets_it_go_on() -> None:
    """Catches a replay that goes on by itself, also after its Job was cleared away, and one that can never go on."""
    there = replays.Cluster(replays.replay())
    there.settle()
    there.end("again-replay", _STOPPED)
    there.settle()
    assert there.condition("again", "Suspended") == ("True", "TooManyFailed")
    assert there.condition("again", "Stalled") == ("True", "TooManyFailed")
    assert "spec.suspend" in there.message("again")
    kept = there.objects.pop(("Job", "again-replay"))
    there.settle()
    assert there.going() == []
    there.objects["Job", "again-replay"] = kept
    there.edit("again", suspend=True)
    there.settle()
    assert there.jobs() == {}
    there.edit("again", suspend=False)
    there.settle()
    assert there.going() == ["again-replay"]


def test_a_job_that_fails_says_what_its_pod_said_last() -> None:
    """Catches a failure without a reason."""
    there = replays.Cluster(replays.replay())
    there.settle()
    refused = runs.Report(phase=runs.Phase.REFUSED, message="spec.source.kafkaTopic.topic: gone")
    there.end("again-replay", refused, "Failed")
    there.settle()
    assert there.condition("again", "Failed") == ("True", "Refused")
    assert "kafkaTopic.topic: gone" in there.message("again")


def test_a_dry_run_that_becomes_a_replay_is_another_job() -> None:
    """Catches counts of the dry run that are shown for the replay, and an end that is taken over."""
    there = replays.Cluster(replays.replay(action="DryRun"))
    there.settle()
    there.end("again-dryrun", _DONE)
    there.settle()
    assert there.condition("again", "Complete") == ("True", "Counted")
    there.edit("again", action="Replay")
    there.look()
    assert there.condition("again", "Complete") == ("False", "Running")
    assert there.going() == ["again-replay"]


def test_what_was_done_before_says_so_and_is_not_begun_again() -> None:
    """Catches an object that a tool applies again, and a Job that is made again because somebody cleared it away."""
    there = replays.Cluster(replays.replay())
    there.settle()
    there.end("again-replay", runs.Report(phase=runs.Phase.COMPLETE, already_run=True, message="18 put back", landed=18))
    there.settle()
    assert there.condition("again", "Complete") == ("True", "AlreadyRun")
    there.objects.clear()
    there.edit("again", eventsPerSecond=1)
    there.settle()
    assert there.jobs() == {}
    assert there.replays["again"]["status"]["observedGeneration"] == 2


def test_an_object_goes_when_it_asked_to_and_not_before() -> None:
    """Catches an object that is deleted before anybody has read how it ended."""
    there = replays.Cluster(replays.replay(ttlSecondsAfterFinished=60))
    there.settle()
    there.end("again-replay", _DONE)
    there.settle()
    there.now += datetime.timedelta(seconds=59)
    assert there.planned() == []
    there.now += datetime.timedelta(seconds=1)
    assert _described(there) == ["delete DeadLetterReplay again"]


_WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "sink": ({"select": {"sinks": ["depot"]}}, "SpecInvalid", "It has warehouse, lake"),
    "reason": ({"action": "Discard"}, "SpecInvalid", "Say why"),
    "export": ({"action": "Export"}, "SpecInvalid", "kubectl penstock dlq clicks export"),
    "topic of its own": (
        {"source": {"type": "KafkaTopic", "kafkaTopic": {"topic": "web.clicks.dead-letters"}}, "select": {"sinks": ["lake"]}},
        "SpecInvalid",
        "Use source type Pipeline",
    ),
    "several sinks": (
        {"source": {"type": "KafkaTopic", "kafkaTopic": {"topic": "x"}}},
        "SpecInvalid",
        "Name one of warehouse, lake",
    ),
    "the pod itself": (
        {
            "source": {"type": "KafkaTopic", "kafkaTopic": {"topic": "x", "bootstrapServers": ["169.254.169.254:80"]}},
            "select": {"sinks": ["lake"]},
        },
        "SpecInvalid",
        "bootstrapServers[0]",
    ),
}


@pytest.mark.parametrize("name", _WRONG)
def test_what_can_not_be_done_is_a_condition_with_the_way_out(name: str) -> None:
    """Catches a Job that is made all the same and fails again and again."""
    spec, reason, says = _WRONG[name]
    there = replays.Cluster(replays.replay(**spec))
    there.settle()
    assert there.jobs() == {}
    assert there.condition("again", "Stalled") == ("True", reason)
    assert says in there.message("again")


def test_a_pipeline_that_is_not_there_holds_the_job_until_it_is() -> None:
    """Catches a reference into nothing that ends the replay, and one into another namespace that is followed."""
    there = replays.Cluster(replays.replay(), with_pipeline=False)
    there.settle()
    assert there.condition("again", "Stalled") == ("True", "PipelineMissing")
    assert "in that namespace" in there.message("again")
    there.pipeline, there.record = replays.accepted()
    there.settle()
    assert there.going() == ["again-replay"]
    there.pipeline = None
    there.settle()
    assert there.going() == []
    there.record = None
    there.pipeline, _ = replays.accepted()
    there.settle()
    assert there.condition("again", "Stalled") == ("True", "PipelineNotAccepted")


def test_a_refusal_is_told() -> None:
    """Catches a quota that nobody is told of, and a name that is taken for a moment and reads as a failure."""
    there = replays.Cluster(replays.replay())
    [one] = standing.all_of(there.situation())
    for reason, stalled in (("Forbidden", "True"), ("NameTaken", "False")):
        told = status.status(one, [snapshot.Refusal(child="Job again-replay", reason=reason, message="no")], replays.NOW)
        assert {each["type"]: each["status"] for each in told["conditions"]}["Stalled"] == stalled


def test_only_ends_and_what_needs_a_person_make_events() -> None:
    """Catches an Event for each count, and none for the end."""
    there = replays.Cluster(replays.replay())
    seen = []
    for step in ("made", "goes", "stopped", "held", "goes again", "done", "done"):
        before = copy.deepcopy(there.replays["again"].get("status") or {})
        if step == "stopped":
            there.end("again-replay", _STOPPED)
        elif step in ("held", "goes again"):
            there.edit("again", suspend=step == "held")
        elif step == "done" and there.going():
            there.end("again-replay", _DONE)
        there.settle()
        seen += [one.reason for one in status.transitions(before, there.replays["again"]["status"])]
    assert seen == ["TooManyFailed", "Replayed"]


_SPECS = st.fixed_dictionaries(
    {
        "suspend": st.booleans(),
        "action": st.sampled_from(["DryRun", "Replay", "Discard"]),
        "reason": st.just("tested"),
        "eventsPerSecond": st.sampled_from([1, 500]),
        "select": st.sampled_from([{"sinks": ["warehouse"]}, {"sinks": ["lake"]}, {"sinks": []}, {"sinks": ["nowhere"]}]),
    }
)
_HAPPENS = st.lists(
    st.tuples(st.sampled_from(["hold", "release", "done", "stopped", "failed", "cleared", "rate"]), st.integers(0, 3))
)


@settings(max_examples=50, deadline=None)
@given(specs=st.lists(_SPECS, min_size=1, max_size=4), happens=_HAPPENS)
def test_whatever_happens_it_comes_to_rest_with_one_writer_for_each_lane(
    specs: list[dict[str, Any]], happens: list[tuple[str, int]]
) -> None:
    """Catches a plan that goes round in circles, and two Jobs that have one lane at any step."""
    there = replays.Cluster(*(replays.replay(f"r{number}", number=number, **spec) for number, spec in enumerate(specs)))
    for what, which in [("", 0), *happens]:
        _happen(there, what, f"r{which % len(specs)}")
        for _ in range(10):
            planned = there.planned()
            for action in planned:
                there.take(action)
                _one_writer_each(there)
            there.report()
            if not planned:
                break
        assert there.planned() == []
        before = copy.deepcopy(there.replays)
        there.report()
        assert there.replays == before


def _happen(there: replays.Cluster, what: str, name: str) -> None:
    job = situation.job_name(there.replays[name])
    if what in ("hold", "release"):
        there.edit(name, suspend=what == "hold")
    elif what == "rate":
        there.edit(name, eventsPerSecond=3)
    elif what == "cleared":
        there.objects.pop(("Job", job), None)
        there.words.pop(job, None)
    elif job in there.going() and what:
        report = {"done": _DONE, "stopped": _STOPPED}.get(what, runs.Report(phase=runs.Phase.REFUSED, message="no"))
        there.end(job, report, "Failed" if what == "failed" else "Complete")


def _one_writer_each(there: replays.Cluster) -> None:
    taken: list[str] = []
    for one in there.replays.values():
        job = there.jobs().get(situation.job_name(one))
        writes = one["spec"]["action"] in standing.WRITING
        if job and writes and situation.job_name(one) in there.going():
            taken += one["spec"]["select"]["sinks"] or replays.SINKS
    assert len(taken) == len(set(taken)), taken
