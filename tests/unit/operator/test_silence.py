"""What is told while batchers say nothing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.operator import situations as given

_TABLE: list[tuple[str, Any, tuple[str, str, str, str]]] = [
    ("no batcher answers", lambda: given.silent(20), ("True", "False", "Unknown NoBatcherAnswers", "Running")),
    ("none for long", lambda: given.silent(80), ("True", "False", "Unknown NoBatcherAnswers", "Degraded")),
    ("none since it rolled", lambda: given.silent(80, 20), ("True", "False", "Unknown NoBatcherAnswers", "Running")),
    ("one of three does not answer", lambda: given.of_three(20), ("True", "False", "Unknown NoBatcherAnswers", "Running")),
    ("one of three for long", lambda: given.of_three(80), ("True", "False", "Unknown NoBatcherAnswers", "Degraded")),
    ("one of three has just begun", lambda: given.of_three(80, 20), ("True", "False", "True", "Running")),
]


@pytest.mark.parametrize(("situation", "expected"), [(make, row) for _, make, row in _TABLE], ids=[name for name, _, _ in _TABLE])
def test_silence_is_not_held_to_be_health(situation: Any, expected: tuple[str, str, str, str]) -> None:
    """Catches a pipeline that runs by what was known long ago, and one that is called ill while its pods begin."""
    assert given.row(situation()) == expected


def test_how_long_nobody_has_told_is_told() -> None:
    """Catches a pipeline that is called well because nobody says otherwise."""
    message = given.silent(200)["message"]
    assert "whether all rows land has not been known for 3m: lanes: warehouse" in message
    assert given.silent(30)["message"] == "events are taken and land"
    some = given.of_three(200)["message"]
    assert "whether all rows land has not been known for 3m: warehouse: of 1 of 3 batchers nothing is heard (b-1)" in some
