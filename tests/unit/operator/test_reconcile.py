"""One look after the other, over the model of a cluster."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from tests.unit.operator import cluster as model
from tests.unit.operator import situations as given

from penstock_operator import actions, reconcile, snapshot
from penstock_operator.reporting import events

_REF = reconcile.PipelineRef(namespace="web", name="clicks")


class _Cluster:
    """The model, behind the port."""

    def __init__(self, there: model.Cluster) -> None:
        self.there, self.statuses, self.told = there, 0, list[str]()
        self.refuses, self.breaks_after = "", -1
        self.gone = False
        self.reports: tuple[snapshot.PodReport, ...] = ()

    async def observe(self, pipeline: reconcile.PipelineRef) -> snapshot.Snapshot | None:
        return None if self.gone else self.there.snapshot(*self.reports)

    async def take(self, pipeline: reconcile.PipelineRef, action: actions.Action) -> None:
        name = actions.described(action)
        if self.breaks_after == 0:
            raise ConnectionError("the API server is away")
        self.breaks_after -= 1
        if self.refuses and self.refuses in name:
            raise reconcile.RefusedError(snapshot.Refusal(child=name, reason="Forbidden", message="exceeded quota"))
        self.there.take(action)

    async def write_status(self, pipeline: reconcile.PipelineRef, uid: str, told: Mapping[str, Any]) -> None:
        self.statuses += 1
        self.there.pipeline["status"] = dict(told)

    async def tell(self, pipeline: reconcile.PipelineRef, uid: str, told: Sequence[events.Event]) -> None:
        self.told += [one.reason for one in told]


class _Clock:
    """A second later each time it is looked at."""

    def __init__(self) -> None:
        self.now = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)

    def __call__(self) -> datetime.datetime:
        self.now += datetime.timedelta(seconds=1)
        return self.now


async def _looks(port: _Cluster, count: int, clock: _Clock) -> list[reconcile.Outcome]:
    found = []
    for _ in range(count):
        found.append(await reconcile.reconcile(_REF, port, model.SETTINGS, clock))
        port.there.settle_all()
    return found


async def test_looks_bring_a_pipeline_up_and_then_write_nothing() -> None:
    """Catches a look that causes the next one, and a status that is written though it is the same."""
    port, clock = _Cluster(model.Cluster(model.pipeline())), _Clock()
    outcomes = await _looks(port, 3, clock)
    assert [one.again for one in outcomes] == [True, False, False]
    port.reports = (given.batcher(), given.door())
    await _looks(port, 100, clock)
    written = port.statuses, port.there.writes
    await _looks(port, 200, clock)
    assert (port.statuses, port.there.writes) == written
    assert port.told == ["Ready"]


@pytest.mark.parametrize("after", range(0, 17, 2))
async def test_an_api_server_that_goes_away_in_the_middle_costs_nothing(after: int) -> None:
    """Catches a plan that can't be begun again between any two of its actions."""
    port, clock = _Cluster(model.Cluster(model.pipeline())), _Clock()
    port.breaks_after = after
    with pytest.raises(ConnectionError):
        await _looks(port, 3, clock)
    port.breaks_after = -1
    assert [one.again for one in await _looks(port, 3, clock)][-1] is False
    assert port.there.ready("clicks-ingest") == 2


async def test_what_is_refused_keeps_nothing_else_away_and_is_told() -> None:
    """Catches one refused budget that keeps the pods from coming, and silence about it."""
    port, clock = _Cluster(model.Cluster(model.pipeline())), _Clock()
    port.refuses = "PodDisruptionBudget clicks-ingest"
    outcomes = await _looks(port, 1, clock)
    assert [one.reason for one in outcomes[0].refusals] == ["Forbidden"]
    assert "exceeded quota" in port.there.pipeline["status"]["message"]
    assert port.there.ready("clicks-ingest") == 2


async def test_a_pipeline_that_is_gone_needs_nothing() -> None:
    """Catches children of an object that was deleted while its key waited."""
    port = _Cluster(model.Cluster(model.pipeline()))
    port.gone = True
    assert (await _looks(port, 1, _Clock()))[0] == reconcile.Outcome(again=False)
    assert port.there.writes == port.statuses == 0
