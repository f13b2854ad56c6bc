"""When has a scenario passed, and what is written of it?"""

from __future__ import annotations

import json
import pathlib

import pytest
from e2e import __main__ as command
from e2e.checker import verdict
from e2e.cluster import image
from e2e.scenarios import report

_GOOD = verdict.Verdict(acknowledged=3, landed=3)
_LOSING = verdict.Verdict(acknowledged=3, landed=2, lost=1)


def _of(*verdicts: verdict.Verdict, error: str = "") -> report.Report:
    return report.Report(name="n", provider="local", seconds=1.0, verdicts=verdicts, error=error)


@pytest.mark.parametrize(
    ("told", "passed"),
    [
        (_of(_GOOD), True),
        (_of(_GOOD, _GOOD), True),
        (_of(_GOOD, _LOSING), False),
        (_of(_GOOD, error="stuck"), False),
        (_of(verdict.Verdict()), False),
        (_of(), False),
    ],
    ids=["good", "two good", "one loses", "stuck", "nothing was sent", "not judged"],
)
def test_a_scenario_has_passed_when_all_of_it_was_judged_and_good(told: report.Report, passed: bool) -> None:
    """Catches a scenario that was never judged, or judged over nothing, and counts as passed."""
    assert told.passed is passed


def test_the_summary_adds_up_all_pipelines_of_a_scenario(tmp_path: pathlib.Path) -> None:
    """Catches a loss in the second pipeline that the file does not show."""
    report.write(tmp_path / "summary.json", [_of(_GOOD, _LOSING)])
    (written,) = json.loads((tmp_path / "summary.json").read_text())
    shown = {name: written[name] for name in ("name", "provider", "passed", "acknowledged", "lost", "duplicated", "unexpected")}
    assert shown == {
        "name": "n",
        "provider": "local",
        "passed": False,
        "acknowledged": 6,
        "lost": 1,
        "duplicated": 0,
        "unexpected": 0,
    }


def test_the_page_has_every_scenario() -> None:
    """Catches a scenario that nobody is told of, and a line about one that is gone."""
    page = (image.REPOSITORY / "docs" / "e2e.md").read_text()
    table = page.partition("| scenario |")[2].partition("\n\n")[0]
    assert sorted(line.split("|")[1].strip() for line in table.splitlines()[2:]) == sorted(command.EACH)
