"""A flood pauses the lane; a few bad rows never do."""

from __future__ import annotations

import pytest

from penstock.core import flood

SETTINGS = flood.Settings(share=0.2, minimum=100, window_seconds=60.0)


def _refusals(count: int, name: str = "f") -> list[flood.Refusal]:
    return [flood.Refusal(fingerprint=name, message=f"{name} {number}") for number in range(count)]


@pytest.mark.parametrize(
    ("units", "refused", "is_flood"),
    [(99, 99, False), (100, 20, False), (100, 21, True), (10_000, 500, False), (1_000, 1_000, True)],
)
def test_the_share_counts_only_above_the_minimum(units, refused, is_flood):
    """Catches a single bad event on a quiet lane that pauses it, and a share that is never reached."""
    watch = flood.Watch(SETTINGS)
    watch.saw(0.0, units)
    watch.refused(0.0, _refusals(refused))
    assert (watch.verdict(0.0) is not None) == is_flood


def test_what_is_older_than_the_window_counts_no_more():
    """Catches refusals of last week that pause the lane today."""
    watch = flood.Watch(SETTINGS)
    watch.saw(0.0, 100)
    watch.refused(0.0, _refusals(90))
    assert watch.verdict(60.0) is not None
    assert watch.verdict(60.1) is None


def test_the_verdict_names_the_most_frequent_reason_with_an_example():
    watch = flood.Watch(SETTINGS)
    watch.saw(1.0, 200)
    watch.refused(1.0, _refusals(10, "rare"))
    watch.refused(3.0, _refusals(60, "common"))
    verdict = watch.verdict(4.0)
    assert verdict is not None
    assert (verdict.refused, verdict.units, verdict.fingerprint, verdict.count) == (70, 200, "common", 60)
    assert str(verdict) == "70 of 200 were refused (35 %), 60 of them alike (common): common 0"


def test_after_a_reset_it_begins_anew():
    """Catches a lane that a person resumed and that pauses again at once."""
    watch = flood.Watch(SETTINGS)
    watch.saw(0.0, 100)
    watch.refused(0.0, _refusals(100))
    watch.reset()
    assert watch.verdict(0.0) is None


def test_memory_is_bounded_whatever_the_messages():
    """Catches an example kept for every message ever seen."""
    watch = flood.Watch(SETTINGS)
    for second in range(1_000):
        watch.saw(float(second), 10)
        watch.refused(float(second), _refusals(1, f"reason {second}"))
    watch.verdict(1_000.0)
    assert len(watch._examples) <= 62
    assert len(watch._buckets) <= 62
