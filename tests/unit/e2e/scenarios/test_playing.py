"""Is every scenario played and told of, whatever happens to it?"""

from __future__ import annotations

import pathlib
import threading
from typing import Any, cast

from e2e import __main__ as command
from e2e.checker import verdict
from e2e.scenarios import playing, report, world


class _Nobody:
    """A cluster, an API and servers that are away."""

    def last_words(self) -> str:
        return ""

    def __getattr__(self, name: str) -> Any:
        raise OSError(f"{name}: away")


def _stage(folder: pathlib.Path, told: list[report.Report]) -> playing.Stage:
    nobody = cast("Any", _Nobody())
    return playing.Stage(
        cluster=nobody, connection=nobody, servers=nobody, provided="local", scale=world.SHORT, folder=folder, told=told.append
    )


def _good(here: world.World) -> None:
    here.verdicts.append(verdict.Verdict(acknowledged=1, landed=1))


def _stuck(here: world.World) -> None:
    here.expect(False, "it is stuck")


def test_one_that_fails_is_told_of_and_holds_nobody_up(tmp_path: pathlib.Path) -> None:
    """Catches a player that ends with its first failure, and scenarios after it that are never played."""
    told: list[report.Report] = []
    _stage(tmp_path, told).play([("a b", _stuck), ("c", _good), ("d", _good)], 1)
    assert [(one.name, one.passed) for one in told] == [("a b", False), ("c", True), ("d", True)]
    assert "it is stuck" in told[0].error
    assert "it is stuck" in (tmp_path / "a-b" / "error.txt").read_text()


def test_as_many_as_asked_for_are_played_at_a_time(tmp_path: pathlib.Path) -> None:
    """Catches scenarios that wait for each other: these two can only end together."""
    meeting = threading.Barrier(2, timeout=60.0)

    def meets(here: world.World) -> None:
        meeting.wait()
        _good(here)

    told: list[report.Report] = []
    _stage(tmp_path, told).play([("a", meets), ("b", meets)], 2)
    assert [one.passed for one in told] == [True, True]


def test_the_short_form_and_those_played_alone_are_scenarios() -> None:
    """Catches a name that was changed in one place only."""
    assert command.ALONE | set(command.IN_SHORT) <= set(command.EACH)
