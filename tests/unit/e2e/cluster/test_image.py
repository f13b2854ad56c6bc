"""One image, two ways to build it: do both follow the same files?"""

from __future__ import annotations

import pathlib
import re
import shutil
import tomllib
from collections.abc import Sequence

import pytest
from e2e.cluster import archives, image, shell
from packaging import requirements, utils

PINNED = re.compile(r"^([a-z0-9._-]+==[^\s;]+)", re.MULTILINE)


def test_the_settings_are_those_of_the_last_stage() -> None:
    """Catches a way without Docker that runs as root, or does not find the package."""
    said = image.settings((image.IMAGES / "Dockerfile").read_text())
    assert (said.user, said.entrypoint) == ("65532:65532", ["penstock"])
    assert said.environment["PYTHONPATH"] == "/opt/penstock/lib"
    assert said.environment["PATH"].startswith("/opt/penstock/bin:")


def test_an_earlier_stage_has_no_say() -> None:
    """Catches a parser that takes the build stage's user."""
    said = image.settings('FROM a AS b\nUSER root\nFROM c\nENV A=1 \\\n    B=2=3\nUSER 5\nENTRYPOINT ["x", "y"]\n')
    assert said == image.Settings(environment={"A": "1", "B": "2=3"}, user="5", entrypoint=["x", "y"])


def test_the_image_has_the_versions_that_are_tested() -> None:
    """Catches an images/requirements.lock that `make lock` has not written anew."""
    tested = set(PINNED.findall((image.REPOSITORY / "requirements.lock").read_text()))
    shipped = set(PINNED.findall((image.IMAGES / "requirements.lock").read_text()))
    assert shipped
    assert shipped - tested == set()


def test_the_image_has_everything_that_runs() -> None:
    """Catches a dependency added without `make lock`: the image would start, and fail where it is first needed."""
    project = tomllib.loads((image.REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [line for lines in [project["dependencies"], *project["optional-dependencies"].values()] for line in lines]
    names = {utils.canonicalize_name(requirements.Requirement(line).name) for line in wanted} - {"penstock"}
    shipped = {line.partition("==")[0] for line in PINNED.findall((image.IMAGES / "requirements.lock").read_text())}
    assert names - shipped == set()


def test_what_tests_need_is_not_shipped() -> None:
    """Catches a lock of the image that takes the development tools along."""
    shipped = (image.IMAGES / "requirements.lock").read_text()
    assert [
        name for name in ("pytest", "mypy", "ruff", "hypothesis", "chdb") if re.search(f"^{name}==", shipped, re.MULTILINE)
    ] == []


def test_with_a_docker_that_answers_the_dockerfile_is_built(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an archive made of an image of another name than the one built."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    commands: list[str] = []

    def run(command: Sequence[str], stdin: str) -> str:
        commands.append(" ".join(command))
        return ""

    assert archives.make(tmp_path / "new" / "image.tar", run) == "with Docker"
    assert commands == [
        "docker info",
        f"docker build --file {image.IMAGES / 'Dockerfile'} --tag {image.NAME} {image.REPOSITORY}",
        f"docker save --output {tmp_path / 'new' / 'image.tar'} {image.NAME}",
    ]


def test_with_a_docker_that_does_not_answer_it_is_built_without(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a client without its daemon taken for Docker."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    built: list[pathlib.Path] = []
    monkeypatch.setattr(image, "build", lambda target, name: built.append(target))

    def run(command: Sequence[str], stdin: str) -> str:
        raise shell.CommandError("is the daemon running?")

    assert archives.make(tmp_path / "image.tar", run) == "without Docker"
    assert built == [tmp_path / "image.tar"]
