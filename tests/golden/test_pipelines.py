"""A corpus of pipeline files: the valid ones mean what kubectl reads, the invalid ones are refused in exact words."""

from __future__ import annotations

import json
import pathlib

import pytest

from penstock.api import load
from penstock.api.reading import document
from penstock.core import errors

_PIPELINES = pathlib.Path(__file__).parent / "pipelines"
_VALID = sorted((_PIPELINES / "valid").glob("*.yaml"))
_INVALID = sorted((_PIPELINES / "invalid").glob("*.yaml"))


def _problems(file: pathlib.Path) -> str:
    try:
        load.read(file.read_bytes(), file=file.name)
    except errors.InvalidPipelineError as error:
        return f"{error}\n"
    return ""


@pytest.mark.parametrize("file", _VALID, ids=lambda file: file.stem)
def test_a_valid_file_has_no_problems(file: pathlib.Path) -> None:
    """Catches a bound or rule that refuses what the API promises to take."""
    assert _problems(file) == ""


@pytest.mark.parametrize("file", _VALID, ids=lambda file: file.stem)
def test_a_file_is_read_as_kubectl_reads_it(file: pathlib.Path) -> None:
    """Catches Python's own reading of YAML: 1:30 as 90, 1e3 as text, 2026-01-31 as a date, y as text."""
    expected = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    read = [found.data for found in document.parse(file.read_text(encoding="utf-8"))]
    assert read == [_without_nulls(one) for one in expected]


@pytest.mark.parametrize("file", _INVALID, ids=lambda file: file.stem)
def test_an_invalid_file_is_refused_with_every_problem(file: pathlib.Path) -> None:
    """Catches a lost line number, a vanished remedy, a rule that is no longer asked, words of the library."""
    assert _problems(file) == file.with_suffix(".expected").read_text(encoding="utf-8")


def test_problems_are_told_without_the_words_of_the_libraries() -> None:
    """Catches a complaint of pydantic or PyYAML that is passed on as it is."""
    told = "".join(file.read_text(encoding="utf-8").lower() for file in (_PIPELINES / "invalid").glob("*.expected"))
    foreign = ("pydantic", "input should", "extra_forbidden", "https://errors", "literal", "tuple", "none,", "yaml.org,2002:int")
    assert [word for word in foreign if word in told.replace(".literal", "")] == []


def _without_nulls(value: object) -> object:
    """A null is a field left out, for a cluster as for us."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
