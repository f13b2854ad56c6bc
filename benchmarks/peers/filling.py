"""A contender's script with the values of a run in its blanks."""

from __future__ import annotations

import pathlib

from benchmarks.peers import contender


def filled(script: pathlib.Path, task: contender.Task, **further: object) -> pathlib.Path:
    """The script in the run's folder: {servers}, {topic}, {into}, {count}, {folder} and what is in `further` replaced."""
    blanks = {"servers": task.bootstrap, "topic": task.topic, "into": task.into, "count": task.count, "folder": task.folder}
    text = script.read_text()
    for name, value in (blanks | further).items():
        text = text.replace(f"{{{name}}}", str(value))
    path = task.folder / script.name
    path.write_text(text)
    return path
