"""What is kept of each fault over Kafka, and what the table shows of it."""

from __future__ import annotations

import dataclasses
import json
import pathlib

from e2e.chaos import report
from e2e.chaos.kafka import page, stage
from e2e.checker import verdict

FAULT = stage.Fault(row=3, name="kill", perform=lambda _: verdict.Verdict())
FEW, MANY = stage.SHORT, dataclasses.replace(stage.LONG, events=200_000)


def _keep(path: pathlib.Path, scale: stage.Scale, *, seed: int = 1, lost: int = 0, seconds: float = 2.0) -> None:
    told = verdict.Verdict(acknowledged=scale.events, lost=lost)
    one = report.Report(name="kill", seed=seed, times=1, seconds=9.0, verdict=told, recoveries=(seconds,), how="killed")
    page.keep(path, FAULT, one, scale, "python -m e2e.chaos.kafka")


def test_what_was_good_is_not_missing_and_what_was_bad_or_smaller_is(tmp_path):
    """Catches a run that goes on after a stop and leaves out what has failed, or what was done with a few events only."""
    path = tmp_path / "summary.json"
    assert not page.has(path, FAULT, 1, FEW)
    _keep(path, FEW)
    assert page.has(path, FAULT, 1, FEW)
    assert not page.has(path, FAULT, 1, MANY)
    assert not page.has(path, FAULT, 2, FEW)
    _keep(path, MANY, lost=1)
    assert not page.has(path, FAULT, 1, MANY)
    _keep(path, MANY)
    assert page.has(path, FAULT, 1, MANY)


def test_the_table_shows_the_runs_with_the_most_events_of_all_seeds(tmp_path):
    """Catches a short run that hides behind long ones, or makes little of them, and a worst recovery that is not shown."""
    path = tmp_path / "summary.json"
    _keep(path, FEW, seed=7)
    for seed, seconds in ((1, 2.0), (2, 12.5)):
        _keep(path, MANY, seed=seed, seconds=seconds)
    shown = page.table(json.loads(path.read_text())["kafka"], ["kill"])
    (line,) = [line for line in shown.splitlines() if line.startswith("| 3 | kill |")]
    assert "| 1 | 200,000 | 0 | 0 | 0 | 0 | 0 | 12.5 s |" in line
    assert line.endswith("| 1, 2 |")


def test_a_fault_that_went_badly_once_is_marked(tmp_path):
    """Catches a good seed that hides a bad one."""
    path = tmp_path / "summary.json"
    _keep(path, MANY, seed=1)
    _keep(path, MANY, seed=2, seconds=31.0)
    assert "| 3 | kill **(failed)** |" in page.table(json.loads(path.read_text())["kafka"], ["kill"])
