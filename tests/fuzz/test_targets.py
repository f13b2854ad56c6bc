"""Every fuzzer, briefly and always over the same inputs, and all that longer runs have found."""

from __future__ import annotations

import contextlib
import unittest

import hypothesis
import pytest
from hypothesis import database
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
    again = hypothesis.settings(
        phases=[hypothesis.Phase.reuse],
        database=database.DirectoryBasedExampleDatabase(long_run.FINDINGS),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    # Where nothing was found there is nothing to run.
    with contextlib.suppress(unittest.SkipTest):
        targets.run(name, again)
