"""The wait before another try."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import retry


@pytest.mark.parametrize(
    ("attempt", "fraction", "expected"),
    [(0, 0.5, 0.1), (1, 0.5, 0.2), (3, 0.5, 0.8), (3, 0.0, 0.0), (3, 0.25, 0.4), (9, 0.5, 15.0), (10**9, 0.5, 15.0)],
    ids=str,
)
def test_the_wait_doubles_up_to_its_maximum_and_is_jittered_in_full(attempt: int, fraction: float, expected: float) -> None:
    """Catches linear growth, jitter on a part only, a missing maximum, and an overflow after a night of retries."""
    wait = retry.delay_seconds(attempt, initial_seconds=0.2, maximum_seconds=30.0, fraction=fraction)
    assert wait == pytest.approx(expected)


seconds = st.floats(0.001, 1_000)


@given(st.integers(0, 2_000), seconds, seconds, st.floats(0, 1, exclude_max=True), st.floats(0, 3_600))
@settings(max_examples=100)
def test_the_stores_advice_is_the_least_and_jitter_the_rest(
    attempt: int, initial: float, maximum: float, fraction: float, advice: float
) -> None:
    """Catches advice that is ignored, or obeyed by all lanes at the same instant."""
    wait = retry.delay_seconds(
        attempt, initial_seconds=initial, maximum_seconds=maximum, fraction=fraction, retry_after_seconds=advice
    )
    assert advice <= wait <= advice + maximum


@pytest.mark.parametrize(("advice", "obeyed"), [(7_200.0, 3_600), (math.inf, 3_600), (-5.0, 0), (math.nan, 0)], ids=str)
def test_absurd_advice_is_bounded(advice: float, obeyed: int) -> None:
    """Catches a store that stops a lane for ever with one header."""
    assert retry.delay_seconds(0, initial_seconds=1, maximum_seconds=9, fraction=0, retry_after_seconds=advice) == obeyed


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0.0, 5.0)), max_size=80))
@settings(max_examples=60, deadline=None)
def test_retries_stay_within_a_share_of_first_tries_a_floor_and_a_burst(steps: list[tuple[int, float]]) -> None:
    """Catches retries that multiply what a store in a brown-out has to bear, and time that is counted twice."""
    budget, now, first, spent = retry.Budget(share=0.1, floor_seconds=2.0, burst=4.0), 0.0, 0, 0
    budget.spend(now)
    for tries, seconds in steps:
        for _ in range(tries):
            budget.first_try()
        first += tries
        now += seconds
        while budget.spend(now) == 0.0:
            spent += 1
    assert spent <= 4.0 + 0.1 * first + now / 2.0 + 1e-6


def test_a_budget_delays_and_never_refuses() -> None:
    """Catches an outage that is given up because its retries have spent the budget."""
    budget, now, retries = retry.Budget(floor_seconds=2.0, burst=1.0), 0.0, 0
    while retries < 50:
        wait = budget.spend(now)
        retries += wait == 0.0
        assert wait <= 2.0
        now += wait
    assert now == pytest.approx(2.0 * 49)
