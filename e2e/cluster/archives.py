"""Penstock's image as a file, for any provider: by Docker where one answers, by `image` where none does."""

from __future__ import annotations

import pathlib
import shutil

from e2e.cluster import image, shell

PATH = image.REPOSITORY / "build" / "images" / "penstock.tar"


def make(target: pathlib.Path = PATH, run: shell.Runner = shell.run, *, name: str = image.NAME) -> str:
    """Write the archive; answers how. Raises `shell.CommandError`, `cache.MissingError`."""
    if not _docker_answers(run):
        image.build(target, name)
        return "without Docker"
    target.parent.mkdir(parents=True, exist_ok=True)
    run(["docker", "build", "--file", str(image.IMAGES / "Dockerfile"), "--tag", name, str(image.REPOSITORY)], "")
    run(["docker", "save", "--output", str(target), name], "")
    return "with Docker"


def _docker_answers(run: shell.Runner) -> bool:
    if shutil.which("docker") is None:
        return False
    try:
        run(["docker", "info"], "")
    except shell.CommandError:
        return False
    return True
