"""Faults in what a person wrote, as they are told."""

from __future__ import annotations

import pytest

from penstock.core import errors


@pytest.mark.parametrize(
    ("message", "remedy", "told"),
    [
        ("can't be 7", "Use 6.", 'spec.n: "7" can\'t be 7. Use 6'),
        ("can't be 7.", "Use 6. Or 5.", 'spec.n: "7" can\'t be 7. Use 6. Or 5'),
        ("can't be 7", "numbers here: 6", 'spec.n: "7" can\'t be 7; numbers here: 6'),
        ("can't be 7", "", 'spec.n: "7" can\'t be 7'),
        ("is no SQL:\n    a + ", "", 'spec.n: "7" is no SQL: a + '),
    ],
)
def test_a_fault_on_one_line_is_made_of_sentences(message: str, remedy: str, told: str) -> None:
    """Catches a remedy that runs into what is wrong, and a full stop before whatever the caller adds."""
    assert errors.Problem(field="spec.n", value="7", message=message, remedy=remedy).sentence == told
