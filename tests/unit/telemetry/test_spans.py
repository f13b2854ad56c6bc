"""Span names are few, distinct and spelt as the conventions spell them."""

from __future__ import annotations

import re

from penstock.telemetry import spans

CONSTANTS = {name: value for name, value in vars(spans).items() if name.isupper()}


def test_no_two_names_are_the_same() -> None:
    """Catches a copied line whose value was not changed: two spans that cannot be told apart."""
    assert len(set(CONSTANTS.values())) == len(CONSTANTS)


def test_attributes_are_dotted_lower_case() -> None:
    """Catches an attribute that would not sort with its family in a tracing backend."""
    attributes = [value for value in CONSTANTS.values() if "." in value and "/" not in value]
    assert attributes
    assert [value for value in attributes if not re.fullmatch(r"[a-z]+(\.[a-z_]+)+", value)] == []


def test_templated_names_name_their_sink_and_store() -> None:
    """Catches swapped templates."""
    assert (spans.flush("warehouse"), spans.insert("duckdb")) == ("flush warehouse", "insert duckdb")
