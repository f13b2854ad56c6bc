"""The plan, held against a model of a cluster: it comes to rest, and on the way there nothing that serves is taken away."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.operator import cluster, driving

from penstock_operator import actions, children, snapshot
from penstock_operator.planning import acceptance, plan
from penstock_operator.resources import config


def _described(planned: list[actions.Action]) -> list[str]:
    return [actions.described(one) for one in planned]


def test_a_converged_pipeline_needs_nothing() -> None:
    """Catches a comparison that takes defaults, quantities or empty members of the API server for differences."""
    there = driving.converged(
        cluster.pipeline(
            pods={"resources": {"batcher": {"requests": {"cpu": "1000m", "memory": "1024Mi", "ephemeral-storage": 5}}}}
        )
    )
    assert driving.planned(there) == []


def test_the_first_plan_makes_everything_at_once() -> None:
    """Catches a start that waits for a store: the doors of a new pipeline take events whether it answers or not."""
    made = [
        one.manifest["kind"] for one in driving.planned(cluster.Cluster(cluster.pipeline())) if isinstance(one, actions.Apply)
    ]
    assert made.count("Deployment") == 3
    assert made.count("Service") == 3
    assert made.count("PodDisruptionBudget") == made.count("NetworkPolicy") == 3
    assert made.count("ConfigMap") == 4


def test_a_pipeline_that_reads_topics_has_no_doors() -> None:
    """Catches a door that nobody may send to, and a Service in front of nothing."""
    source = {"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9092"], "topics": ["orders"]}}
    there = driving.converged(cluster.pipeline(source=source, log=None))
    assert sorted(there.deployments()) == ["clicks--warehouse-batcher", "clicks--warehouse-sink"]
    assert not any(name.startswith("clicks-ingest") for _, name in there.objects)


def test_an_edit_reaches_sinks_then_batchers_then_doors() -> None:
    """Catches a roll-out that starts a stage before the one before it is ready."""
    there = driving.converged()
    there.edit(transform={"filter": {"expression": "true"}})
    order = []
    for _ in range(driving.MOST_ROUNDS):
        planned = driving.planned(there)
        order += [name for name in _described(planned) if "Deployment" in name]
        for action in planned:
            there.take(action)
        there.settle_all()
    assert order == [
        "apply Deployment clicks--warehouse-sink",
        "apply Deployment clicks--warehouse-batcher",
        "apply Deployment clicks-ingest",
    ]


def test_a_sink_that_never_gets_ready_holds_the_others_where_they_are() -> None:
    """Catches a roll-out that goes on over a stage that failed."""
    there = driving.converged()
    there.edit(transform={"filter": {"expression": "true"}})
    there.stuck.add("clicks--warehouse-sink")
    before = copy.deepcopy(there.objects["Deployment", "clicks--warehouse-batcher"]["spec"])
    for _ in range(5):
        for action in driving.planned(there):
            there.take(action)
        there.settle_all()
    assert there.ready("clicks--warehouse-sink") >= 1
    assert there.objects["Deployment", "clicks--warehouse-batcher"]["spec"] == before


def test_a_stop_is_not_held_up_by_a_roll_out_that_is_stuck() -> None:
    """Catches two things that wait for each other: a stage for its turn, and the stage before it for the pods to end."""
    there = driving.converged()
    there.edit(transform={"filter": {"expression": "true"}})
    there.stuck.add("clicks--warehouse-sink")
    for action in driving.planned(there):
        there.take(action)
    there.settle_all()
    there.edit(lifecycle="Stopped")
    driving.settle(there)
    assert {name: len(pods) for name, pods in there.pods.items()} == dict.fromkeys(there.deployments(), 0)


def test_a_stop_ends_doors_before_batchers_before_sinks() -> None:
    """Catches a sink that goes while a batcher still has rows for it."""
    there = driving.converged()
    there.edit(lifecycle="Stopped")
    ended = []
    for _ in range(driving.MOST_ROUNDS):
        planned = driving.planned(there)
        ended += [
            one.manifest["metadata"]["name"]
            for one in planned
            if isinstance(one, actions.Apply) and one.manifest["kind"] == "Deployment"
        ]
        for action in planned:
            there.take(action)
        there.settle_all()
    assert ended == ["clicks-ingest", "clicks--warehouse-batcher", "clicks--warehouse-sink"]


@pytest.mark.parametrize(
    ("kind", "name", "damage"),
    [
        ("Deployment", "clicks-ingest", lambda live: live["spec"]["template"]["spec"]["containers"][0].update(image="evil")),
        ("Deployment", "clicks-ingest", lambda live: live["spec"].update(replicas=0)),
        ("Deployment", "clicks--warehouse-batcher", lambda live: live["metadata"]["annotations"].clear()),
        ("Service", "clicks-ingest", lambda live: live["spec"]["ports"].pop()),
        ("NetworkPolicy", "clicks--warehouse-sink", lambda live: live["spec"]["ingress"].clear()),
        ("ConfigMap", "clicks-accepted", lambda live: live["metadata"]["ownerReferences"].clear()),
    ],
    ids=str,
)
def test_what_somebody_changed_is_put_right(kind: str, name: str, damage: Callable[[dict[str, Any]], None]) -> None:
    """Catches drift that only the next edit would repair."""
    there = driving.converged()
    damage(there.objects[kind, name])
    assert f"apply {kind} {name}" in _described(driving.planned(there))
    driving.settle(there)
    assert driving.planned(there) == []


@pytest.mark.parametrize("kind", ["Deployment", "Service", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy"])
def test_what_somebody_deleted_is_made_again(kind: str) -> None:
    """Catches a child that stays away until the next edit."""
    there = driving.converged()
    gone = next(key for key in there.objects if key[0] == kind)
    there.objects.pop(gone)
    there.pods.pop(gone[1], None)
    assert f"apply {kind} {gone[1]}" in _described(driving.planned(there))


def test_a_bad_edit_keeps_what_ran_before_running() -> None:
    """Catches a pod that is touched because of an object that can't run."""
    there = driving.converged()
    there.edit(deadLetters={"retentionHours": 0})
    assert driving.planned(there) == []
    there.edit(deadLetters=None, sinks=[cluster.sink("duck", type="DuckDB", clickHouse=None, duckDB={"path": "a", "table": "b"})])
    assert driving.planned(there) == []


def test_a_pipeline_that_never_could_run_makes_nothing() -> None:
    """Catches children of an object nobody could accept."""
    assert driving.planned(cluster.Cluster(cluster.pipeline(log=None))) == []


def test_while_a_bad_edit_stands_drift_is_still_repaired() -> None:
    """Catches a refusal that stops everything."""
    there = driving.converged()
    there.edit(deadLetters={"retentionHours": 0})
    there.objects.pop(("Service", "clicks-ingest"))
    assert _described(driving.planned(there)) == ["apply Service clicks-ingest"]


def test_an_object_that_is_being_deleted_is_left_alone() -> None:
    """Catches children that are made again while the cluster removes them."""
    there = driving.converged()
    there.objects.pop(("Service", "clicks-ingest"))
    there.pipeline["metadata"]["deletionTimestamp"] = "2026-01-31T08:00:00Z"
    assert driving.planned(there) == []


def test_partitions_may_change_once_everything_has_landed() -> None:
    """Catches an edit that is refused for ever, and one that is taken while events are unread."""
    there = driving.converged(cluster.pipeline(lifecycle="Draining"))
    more = {"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9093"], "partitions": 12}}
    there.edit(log=more, lifecycle="Running")
    busy = snapshot.PodReport(
        pod="b", role="batcher", lanes=(snapshot.LaneReport(sink="warehouse", state="Running", lag_events=1),)
    )
    done = snapshot.PodReport(pod="b", role="batcher", lanes=(snapshot.LaneReport(sink="warehouse", state="Running"),))
    door = snapshot.PodReport(pod="i", role="ingest")
    assert [driving.planned(there, *reports) for reports in ((), (busy,), (done, door))] == [[], [], []]
    assert "apply ConfigMap clicks-accepted" in _described(driving.planned(there, done))


def test_doors_that_drain_stay_to_say_so_and_are_told_once() -> None:
    """Catches clients whose connections are refused where they could be told why, doors that go on taking events until they
    are replaced, and ones that are told with each look."""
    there = driving.converged()
    there.edit(lifecycle="Draining")
    taking = snapshot.PodReport(pod="i", role="ingest", address="10.0.0.1:9465")
    told = [one for one in driving.planned(there, taking) if isinstance(one, actions.Tell)]
    assert told == [actions.Tell(pod="i", address="10.0.0.1:9465", sink="", lifecycle="Draining")]
    for state in ("Starting", "Draining", "Drained"):
        silent = dataclasses.replace(taking, lifecycle=state)
        assert not [one for one in driving.planned(there, silent) if isinstance(one, actions.Tell)]
    driving.settle(there)
    assert there.ready("clicks-ingest") == 2
    there.edit(lifecycle="Stopped")
    driving.settle(there)
    assert there.ready("clicks-ingest") == 0


def test_nothing_is_drained_while_a_door_may_still_take_events() -> None:
    """Catches partitions that change under events which a silent door takes."""
    there = driving.converged(cluster.pipeline(lifecycle="Draining"))
    running = config.read_accepted(there.snapshot())
    assert running is not None
    landed = snapshot.PodReport(pod="b", role="batcher", lanes=(snapshot.LaneReport(sink="warehouse", state="Running"),))
    doors = {state: snapshot.PodReport(pod="i", role="ingest", lifecycle=state) for state in ("Running", "Drained")}
    labels = {"penstock.dev/role": "ingest"}
    pod = {"metadata": {"name": "i", "labels": labels}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}

    def drained(*reports: snapshot.PodReport, pods: tuple[Any, ...] = ()) -> bool:
        return acceptance.is_drained(running, there.snapshot(landed, *reports, pods=pods))

    assert [drained(), drained(doors["Running"]), drained(doors["Drained"])] == [True, False, True]
    assert [drained(pods=(pod,)), drained(doors["Drained"], pods=(pod,))] == [False, True]


def test_a_removed_sink_loses_its_batcher_before_its_server() -> None:
    """Catches writes under way that find no server any more."""
    there = driving.converged(cluster.pipeline(sinks=[cluster.sink(), cluster.sink("lake")]))
    there.edit(sinks=[cluster.sink()])
    first = [one for one in _described(driving.planned(there)) if one.startswith("delete Deployment")]
    assert first == ["delete Deployment clicks--lake-batcher"]
    driving.settle(there)
    assert not any("lake" in name for _, name in there.objects)


def test_a_pause_is_told_to_running_lanes_and_only_to_those_that_do_not_know() -> None:
    """Catches a pause that waits for a restart, and one that is told again and again."""
    there = driving.converged()
    running = snapshot.PodReport(
        pod="b-0", role="batcher", address="10.0.0.1:9465", lanes=(snapshot.LaneReport(sink="warehouse", state="Running"),)
    )
    paused = snapshot.PodReport(
        pod="b-1", role="batcher", address="10.0.0.2:9465", lanes=(snapshot.LaneReport(sink="warehouse", state="Paused"),)
    )
    told = [one for one in driving.planned(there, running, paused) if isinstance(one, actions.Tell)]
    assert told == [actions.Tell(pod="b-1", address="10.0.0.2:9465", sink="warehouse", lifecycle="Running")]
    there.edit(sinks=[cluster.sink(lifecycle="Paused")])
    told = [one for one in driving.planned(there, running, paused) if isinstance(one, actions.Tell)]
    assert told == [actions.Tell(pod="b-0", address="10.0.0.1:9465", sink="warehouse", lifecycle="Paused")]


def test_a_paused_sink_restarts_no_other_lane() -> None:
    """Catches one store's maintenance that is felt by the others."""
    there = driving.converged(cluster.pipeline(sinks=[cluster.sink(), cluster.sink("lake")]))
    there.edit(sinks=[cluster.sink(), cluster.sink("lake", lifecycle="Paused")])
    before = {name: live["metadata"]["generation"] for (kind, name), live in there.objects.items() if kind == "Deployment"}
    driving.settle(there)
    after = {name: live["metadata"]["generation"] for (kind, name), live in there.objects.items() if kind == "Deployment"}
    assert {name for name, generation in after.items() if before[name] != generation} == set()
    running = config.read_accepted(there.snapshot())
    assert running is not None
    (file,) = [one for (kind, name), one in there.objects.items() if name == running.file_name("batcher", "lake")]
    assert '"lifecycle": "Paused"' in file["data"]["pipeline.yaml"]


def test_who_scales_a_deployment_keeps_it() -> None:
    """Catches an operator that fights an autoscaler, and one that drops to a single pod when it lets go."""
    there = driving.converged(cluster.pipeline(sinks=[cluster.sink(replicas={"min": 3})]))
    there.edit(sinks=[cluster.sink(replicas={"min": 3, "mode": "External"})])
    driving.settle(there)
    live = there.objects["Deployment", "clicks--warehouse-batcher"]
    assert live["spec"]["replicas"] == 3
    live["spec"]["replicas"] = 5
    live["metadata"]["managedFields"] = [{"manager": "autoscaler", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    there.settle_all()
    wanted = {one["metadata"]["name"]: one for one in _wanted(there).workloads}
    assert "replicas" not in wanted["clicks--warehouse-batcher"]["spec"]
    assert _described(driving.planned(there)) == ["apply Deployment clicks--warehouse-sink"]
    driving.settle(there)
    assert (there.ready("clicks--warehouse-batcher"), there.ready("clicks--warehouse-sink")) == (5, 5)


def _wanted(there: cluster.Cluster) -> children.Children:
    running = acceptance.decide(there.snapshot(), cluster.SETTINGS).running
    assert running is not None
    return children.wanted(running, there.snapshot(), cluster.SETTINGS)


def test_the_file_of_old_pods_stays_until_the_last_of_them_is_gone() -> None:
    """Catches a pod of the old revision that starts anew in the middle of a roll-out and finds no file."""
    there = driving.converged()
    old = there.files_in_use()
    there.edit(transform={"filter": {"expression": "true"}})
    there.stuck.add("clicks-ingest")
    for _ in range(5):
        for action in driving.planned(there):
            there.take(action)
        there.settle_all()
    assert any("filter" in json.dumps(one.get("data", {})) for one in there.objects.values())
    assert old & there.files_in_use() <= {name for kind, name in there.objects if kind == "ConfigMap"}
    assert old & there.files_in_use()
    there.stuck.clear()
    there.settle_all()
    driving.settle(there)
    assert not old & {name for kind, name in there.objects if kind == "ConfigMap"}


def test_the_token_is_created_once_and_again_when_a_pod_waits_for_it() -> None:
    """Catches a Secret that is never made again, and one that is asked for in every round."""
    there = driving.converged()
    assert there.tokens == 1
    waiting = {"status": {"containerStatuses": [{"state": {"waiting": {"reason": "ContainerCreating"}}}]}}
    assert _described(driving.planned(there, pods=(waiting,))) == ["create Secret clicks-token"]


def test_an_image_is_held_back_until_the_next_edit_where_that_was_asked() -> None:
    """Catches an upgrade of the operator that restarts pipelines which said OnEdit."""
    newer = cluster.settings.Settings(images=dict.fromkeys(cluster.settings.ROLES, "newer"))
    for mode, edited, expected in (("OnEdit", False, 0), ("OnEdit", True, 1), ("Auto", False, 1)):
        there = driving.converged(cluster.pipeline(updates={"mode": mode}))
        if edited:
            there.edit(tracing={"sampledPerMillion": 5})
        planned = plan.plan(there.snapshot(), newer)
        images = [
            one.manifest["spec"]["template"]["spec"]["containers"][0]["image"]
            for one in planned
            if isinstance(one, actions.Apply) and one.manifest["kind"] == "Deployment"
        ]
        assert images.count("newer") == expected


def test_a_pod_monitor_is_made_only_where_the_cluster_knows_the_kind() -> None:
    """Catches an operator that needs Prometheus' operator."""
    there = cluster.Cluster(cluster.pipeline(), kinds=frozenset({"PodMonitor"}))
    assert "apply PodMonitor clicks-metrics" in _described(driving.planned(there))
    assert "apply PodMonitor clicks-metrics" not in _described(driving.planned(cluster.Cluster(cluster.pipeline())))


def test_only_what_is_known_to_be_ours_is_taken_by_force() -> None:
    """Catches an operator that takes over a Deployment of somebody else that has the same name."""
    there = cluster.Cluster(cluster.pipeline())
    assert not any(one.ours for one in driving.planned(there) if isinstance(one, actions.Apply))


def test_everything_that_is_made_is_listed_again() -> None:
    """Catches a kind of child that would be an orphan for ever."""
    there = cluster.Cluster(cluster.pipeline(), kinds=frozenset({"PodMonitor"}))
    made = {
        (one.manifest["apiVersion"], one.manifest["kind"]) for one in driving.planned(there) if isinstance(one, actions.Apply)
    }
    assert made == set(children.MANAGED)
