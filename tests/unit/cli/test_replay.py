"""`penstock replay`: which files it wants, and what it makes of a DeadLetterReplay."""

from __future__ import annotations

import datetime
import pathlib

import pytest
from click import testing
from tests.integration import lane_run

from penstock.api.model import replay as api_replay
from penstock.cli import main
from penstock.machine import replay_runs

REPLAY = """
apiVersion: penstock.dev/v1alpha1
kind: DeadLetterReplay
metadata: {name: again}
spec: {pipelineRef: {name: clicks}, %s}
"""
NOON = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)


def run(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, *texts: str) -> testing.Result:
    monkeypatch.chdir(path)
    arguments = []
    for number, text in enumerate(texts):
        (path / f"{number}.yaml").write_text(text)
        arguments += ["-f", f"{number}.yaml"]
    return testing.CliRunner().invoke(main.cli, ["replay", *arguments])


@pytest.mark.parametrize(
    ("texts", "code", "said"),
    [
        ([lane_run.PIPELINE], 1, "hold 0 objects of kind DeadLetterReplay"),
        ([REPLAY % "action: Replay"] * 2, 1, "hold 2 objects of kind DeadLetterReplay"),
        ([REPLAY % "suspend: true"], 0, "spec.suspend is true"),
        ([REPLAY % 'select: {where: "err = 1"}'], 1, 'spec.select.where: "err = 1" unknown column "err"'),
        ([REPLAY % "action: Replay"], 3, "no "),
        ([REPLAY % "action: Replay", lane_run.PIPELINE], 3, "clicks"),
    ],
    ids=["no replay", "two", "suspended", "where", "no pipeline", "embedded and not running"],
)
def test_what_is_missing_is_said(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, texts: list[str], code: int, said: str
) -> None:
    """Catches a job that does nothing and says it is done."""
    done = run(tmp_path, monkeypatch, *texts)
    assert (done.exit_code, said in done.output) == (code, True), done.output


def test_a_replay_always_has_an_end() -> None:
    """Catches a job that is started again and puts back what its first try has made fail."""
    made = replay_runs.filters_of(api_replay.Select(), NOON)
    assert made.until_microseconds == int(NOON.timestamp()) * 1_000_000
    told = api_replay.Select(
        failed_before_time=NOON - datetime.timedelta(hours=1), failed_after_time=NOON - datetime.timedelta(hours=2)
    )
    assert replay_runs.filters_of(told, NOON).until_microseconds == made.until_microseconds - 3_600_000_000
    assert replay_runs.filters_of(told, NOON).since_microseconds == made.until_microseconds - 7_200_000_000
