"""`kubectl penstock plan`: the operator's planner played to its end over a model of the cluster."""

from __future__ import annotations

import copy
from typing import Any

from tests.unit.operator import cluster, driving

from penstock.cli.kubectl import rehearsal
from penstock_operator.planning import plan


def _edited(**spec: Any) -> rehearsal.Rehearsal:
    there = driving.converged()
    there.edit(**spec)
    live = there.snapshot()
    before = copy.deepcopy(live)
    found = rehearsal.rehearse(live, cluster.SETTINGS)
    assert live == before
    return found


def test_a_plan_names_each_step_in_its_order_and_why() -> None:
    """Catches a plan that ends at the first stage, and one that does not say what is different."""
    found = _edited(pods={"annotations": {"note": "two"}})
    rolled = [step.what for step in found.steps if step.restarts]
    assert rolled == [
        "roll out Deployment clicks--warehouse-sink",
        "roll out Deployment clicks--warehouse-batcher",
        "roll out Deployment clicks-ingest",
    ]
    assert all("spec.template.metadata.annotations" in step.why for step in found.steps if step.restarts)


def test_what_is_there_already_makes_no_step() -> None:
    """Catches book-keeping of the operator's that is shown as a change."""
    assert _edited().steps == ()
    assert _edited(updates={"mode": "Auto"}).steps == () or all("ConfigMap" in one.what for one in _edited().steps)


def test_a_new_sink_is_made_and_a_removed_one_goes_last() -> None:
    """Catches a sink whose pods go before their lane's."""
    there = driving.converged(cluster.pipeline(sinks=[cluster.sink(), cluster.sink("lake")]))
    there.edit(sinks=[cluster.sink(), cluster.sink("depot")])
    steps = [step.what for step in rehearsal.rehearse(there.snapshot(), cluster.SETTINGS).steps]
    assert "make Deployment clicks--depot-batcher" in steps
    gone = [steps.index(f"delete Deployment clicks--lake-{role}") for role in ("batcher", "sink")]
    assert gone == sorted(gone)


def test_an_edit_that_is_refused_has_problems_and_no_steps() -> None:
    """Catches steps that are promised for an edit which changes nothing."""
    found = _edited(log={"type": "Kafka", "kafka": {"bootstrapServers": ["kafka:9093"], "partitions": 12}})
    assert [one.field for one in found.problems] == ["spec.log.kafka.partitions"]
    assert found.steps == ()


def test_at_the_end_of_a_rehearsal_nothing_is_left_to_do() -> None:
    """Catches a model that hides a step: what the operator would still do must be nothing."""
    there = driving.converged()
    there.edit(pods={"annotations": {"note": "two"}}, sinks=[cluster.sink(), cluster.sink("lake")])
    live = there.snapshot()
    for _ in range(40):
        planned = plan.plan(live, cluster.SETTINGS)
        for action in planned:
            live = rehearsal.taken(live, action)
        if not planned:
            return
    raise AssertionError("it does not come to rest")
