"""Events: one for each change an admin wants to hear of, and none for the rest."""

from __future__ import annotations

from typing import Any

from tests.unit.operator import cluster
from tests.unit.operator import situations as given

from penstock_operator.reporting import events


def _told(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [f"{one.type} {one.reason}" for one in events.transitions(before, after)]


def test_an_outage_is_told_when_it_begins_and_when_it_is_over() -> None:
    """Catches an Event per round, one cause told three times, and an end that nobody hears of."""
    well = given.healthy()
    away = given.current(given.up(), given.batcher(circuit="Open", message="connection refused"), given.door())
    assert _told(well, away) == ["Warning CircuitOpened"]
    assert _told(away, away) == []
    assert _told(away, well) == ["Normal CircuitClosed"]


def test_a_start_tells_only_that_it_is_up() -> None:
    """Catches warnings about a pipeline that is merely new."""
    first = given.current(cluster.Cluster(cluster.pipeline()))
    assert _told({}, first) == []
    assert _told(first, given.healthy()) == ["Normal Ready"]


def test_what_was_asked_for_is_no_warning() -> None:
    """Catches an alarm because somebody paused a pipeline."""
    assert _told(given.healthy(), given.paused()) == ["Normal Paused"]


def test_a_bad_edit_is_one_warning() -> None:
    """Catches one cause that shows in two conditions and is told twice."""
    assert _told(given.healthy(), given.bad_edit()) == ["Warning SpecInvalid"]
