"""Every fuzzer, briefly and always over the same inputs, and all that longer runs have found."""

from __future__ import annotations

import contextlib
import pathlib
import unittest

import hypothesis
import pytest
from hypothesis import database
from hypothesis import strategies as st
from tests.fuzz import __main__ as long_run
from tests.fuzz import targets

_EXAMPLES = {"expressions_are_checked": 60, "noise_is_no_expression": 60, "templates_name_known_tables_only": 40}
_BRIEF = 150


@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_fuzzer_finds_nothing(name: str) -> None:
    """Catches an exception where a refusal is due, a verdict on which two readers differ, and bytes believed unseen."""
    brief = hypothesis.settings(
        max_examples=_EXAMPLES.get(name, _BRIEF),
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    targets.run(name, brief)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_what_was_found_before_is_mended(name: str) -> None:
    """Catches a fault that a longer run has found and that is there again."""
    _again(name)


def test_what_a_long_run_finds_is_kept_and_run_again(monkeypatch, tmp_path: pathlib.Path, capsys) -> None:
    """Catches a long run that ends without its report, and findings that no later run knows of."""
    monkeypatch.setattr(long_run, "FINDINGS", tmp_path)
    monkeypatch.setitem(targets.TARGETS, "planted", (_planted, (st.integers(),)))
    assert long_run.fuzz(["planted"], 0.5, seed=3) == 1
    assert "seed 3" in (said := capsys.readouterr().out)
    assert "found: planted" in said
    with pytest.raises(AssertionError):
        _again("planted")


def test_a_message_that_ends_within_a_character_is_a_refusal_of_its_row() -> None:
    """Found by a long run: the engine cuts the value it quotes, and what is no UTF-8 any more halted the lane."""
    body, _ = targets.TARGETS["expressions_are_checked"]
    body("s ->> s")


def _planted(number: int) -> None:
    assert number < 1_000


def _again(name: str) -> None:
    again = hypothesis.settings(
        phases=[hypothesis.Phase.reuse],
        database=database.DirectoryBasedExampleDatabase(long_run.FINDINGS),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    # Where nothing was found there is nothing to run.
    with contextlib.suppress(unittest.SkipTest):
        targets.run(name, again)
