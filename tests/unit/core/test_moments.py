"""The short way of seeing that times are written as most senders write them."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.parsing import convert

USUAL = "2026-01-31T12:34:56.123456Z"
_usual = st.integers(20, len(USUAL)).map(lambda length: USUAL[: length - 1] + "Z")


@given(text=_usual, place=st.integers(0, 26), other=st.sampled_from("0 9/:;tTzZ-+.,x"))
def test_what_is_taken_for_usual_is_rfc_3339(text, place, other):
    """Catches a form that is waved through although the bulk cast reads it more freely than the exact reader."""
    changed = text[:place] + other + text[place + 1 :] if place < len(text) else text
    if convert._are_usual_moments(pa.array([changed])):
        assert re.match(convert._RFC3339, changed)


@pytest.mark.parametrize("digits", [0, 1, 2, 3, 4, 5, 6])
def test_the_usual_forms_are_recognised(digits):
    """Catches a short way that nothing ever takes."""
    text = USUAL[:19] + ("." + "1" * digits if digits else "") + "Z"
    assert convert._are_usual_moments(pa.array([text, text]))
    assert convert._are_usual_moments(pa.array(["x", text, text]).slice(1))


@pytest.mark.parametrize("texts", [[], [None], [USUAL, None], [USUAL, USUAL[:19] + "Z"], ["2026-01-31T12:34:56.Z"]], ids=str)
def test_anything_else_takes_the_long_way(texts):
    """Catches lengths, or what lies under a NULL, that are taken for a time."""
    assert not convert._are_usual_moments(pa.array(texts, pa.string()))
