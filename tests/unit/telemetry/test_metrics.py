"""Names and units of the metrics follow the conventions a dashboard relies on."""

from __future__ import annotations

import re

from penstock.telemetry import metrics

FAMILIES = list(metrics.REGISTRY.collect())


def test_names_carry_the_prefix_and_no_suffix_of_the_exposition() -> None:
    """Catches a counter named `…_total`, which the exposition would double, and a name without the prefix."""
    assert [family.name for family in FAMILIES if not re.fullmatch(r"penstock_[a-z_]+", family.name)] == []
    assert [family.name for family in FAMILIES if family.name.endswith(("_total", "_count", "_sum", "_bucket"))] == []


def test_units_are_base_units() -> None:
    """Catches milliseconds, kilobytes and percentages."""
    assert [
        family.name for family in FAMILIES if re.search(r"_(ms|milli|micro|minutes|kb|mb|kib|mib|percent)", family.name)
    ] == []


def test_every_metric_says_what_it_counts() -> None:
    """Catches an empty or unfinished help text."""
    assert [family.name for family in FAMILIES if not family.documentation.endswith(".")] == []
