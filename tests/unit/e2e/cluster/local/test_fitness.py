"""Does a machine that can't run a cluster say what it lacks?"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import pytest
from e2e.cluster import shell
from e2e.cluster.local import fitness


def test_what_can_not_be_done_is_named_with_what_was_said(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a trial whose failure is passed over: the node would wait for minutes and never be ready."""
    asked: list[str] = []

    def run(command: Sequence[str], **_: Any) -> str:
        asked.append(command[-1])
        if "overlay" in command[-1]:
            raise shell.CommandError("mount: wrong fs type")
        return ""

    monkeypatch.setattr(shell, "run", run)
    monkeypatch.setattr(fitness, "_GROUPS", tmp_path)
    monkeypatch.setattr(fitness, "_FORWARDING", tmp_path / "none")
    missing = fitness.missing(tmp_path)
    assert "overlay file systems on its disk: mount: wrong fs type" in missing
    assert [one for one in missing if one.startswith("forwarding between pods")]
    assert len([one for one in missing if one.startswith("control groups")]) == 7
    assert len(asked) == 9


@pytest.mark.parametrize(("switched_on", "lacks"), [("cpu cpuset memory pids", []), ("cpu pids", ["cpuset", "memory"])])
def test_controllers_that_are_not_handed_down_are_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, switched_on: str, lacks: list[str]
) -> None:
    """Catches a container whose control groups are there and can't be used: the kubelet ends at its start."""
    (tmp_path / "cgroup.controllers").write_text("cpu cpuset memory pids\n")
    switches = tmp_path / "cgroup.subtree_control"
    switches.write_text(f"{switched_on}\n")
    real = pathlib.Path.write_text

    def busy(path: pathlib.Path, text: str) -> int:
        if path == switches:
            raise OSError(16, "Device or resource busy")
        return real(path, text)

    monkeypatch.setattr(shell, "run", lambda command, **_: "")
    monkeypatch.setattr(pathlib.Path, "write_text", busy)
    monkeypatch.setattr(fitness, "_GROUPS", tmp_path)
    named = [one for one in fitness.missing(tmp_path) if one.startswith("control groups")]
    assert [one.split()[2] for one in named] == lacks
