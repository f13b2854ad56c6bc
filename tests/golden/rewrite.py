"""Writes the expected problems of every invalid pipeline anew: `python tests/golden/rewrite.py`; then read the difference.

The .json files beside the valid pipelines are what kubectl reads in them, and only kubectl may write those:
`kubectl annotate --local -f FILE probe=x -o json`, without the probe.
"""

from __future__ import annotations

import pathlib

from penstock.api import load
from penstock.core import errors

PIPELINES = pathlib.Path(__file__).parent / "pipelines"


def problems(file: pathlib.Path) -> str:
    """What is wrong with a file, as people read it."""
    try:
        load.read(file.read_bytes(), file=file.name)
    except errors.InvalidPipelineError as error:
        return f"{error}\n"
    return ""


if __name__ == "__main__":
    for invalid in (PIPELINES / "invalid").glob("*.yaml"):
        invalid.with_suffix(".expected").write_text(problems(invalid), encoding="utf-8")
