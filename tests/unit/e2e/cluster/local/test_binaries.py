"""What is built once: does a change of what it is made of make it anew, and nothing else?"""

from __future__ import annotations

import pathlib
import shutil

import pytest
from e2e.cluster import cache
from e2e.cluster.local import binaries, toolchain


@pytest.fixture
def module(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A copy of the module, and a Go that only has a version."""
    copy = tmp_path / "kube"
    shutil.copytree(toolchain.MODULE, copy)
    monkeypatch.setattr(toolchain, "MODULE", copy)
    monkeypatch.setattr(toolchain, "go", lambda: tmp_path / "go")
    monkeypatch.setattr(toolchain, "version", lambda go: "go1.30")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return copy


@pytest.mark.parametrize("changed", ["go.mod", "go.sum", "controlplane/main.go", "dispatch/dispatch.go"])
def test_a_change_of_a_source_is_another_folder(module: pathlib.Path, changed: str) -> None:
    """Catches a test run that uses what an older source gave."""
    before = binaries.expected(binaries.CONTROL_PLANE)
    with (module / changed).open("a") as file:
        file.write("\n")
    assert binaries.expected(binaries.CONTROL_PLANE) != before


def test_another_go_is_another_folder(module: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches binaries of a compiler that is no longer there."""
    before = binaries.expected(binaries.CONTROL_PLANE)
    monkeypatch.setattr(toolchain, "version", lambda go: "go1.31")
    assert binaries.expected(binaries.CONTROL_PLANE) != before


def test_the_node_s_source_does_not_concern_the_control_plane(module: pathlib.Path) -> None:
    """Catches minutes of building in `make test` for a change it has no use for."""
    before = binaries.expected(binaries.CONTROL_PLANE)
    with (module / "node" / "main.go").open("a") as file:
        file.write("\n")
    assert binaries.expected(binaries.CONTROL_PLANE) == before


def test_what_is_not_built_says_how_to_build_it(module: pathlib.Path) -> None:
    """Catches a test that fails in the depths for want of a program."""
    with pytest.raises(cache.MissingError, match="make setup-servers"):
        binaries.found(binaries.CONTROL_PLANE)


def test_kubernetes_is_of_one_version() -> None:
    """Catches a library left behind when the version was changed: it compiles, and behaves like neither."""
    text = (toolchain.MODULE / "go.mod").read_text()
    minor = binaries.kubernetes_version().removeprefix("v1.")
    replaced = [line.split()[-1] for line in text.splitlines() if " => " in line]
    assert len(replaced) > 30
    assert set(replaced) == {f"v0.{minor}"}
