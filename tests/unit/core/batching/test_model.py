"""The close line, the store's level and the sums."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.batching import model

STATIC = model.WriteModel(budget_seconds=0.5, target_rows=5000, cap_rows=100_000, wanted_concurrency=2, maximum_concurrency=16)
FITTED = model.WriteModel(
    seconds_per_row=1e-4,
    seconds_per_write=0.02,
    own_seconds_per_row=1e-6,
    z=1.2,
    z_jump=1.6,
    budget_seconds=0.25,
    minimum_linger_seconds=0.0125,
    target_rows=2000,
    cap_rows=4000,
    wanted_concurrency=1,
    maximum_concurrency=8,
    samples=200,
)


def test_without_a_measurement_the_close_line_is_the_static_linger():
    """Catches a static model that shortens the linger by costs nobody measured."""
    assert [STATIC.close_line(rows) for rows in (0, 1, 100_000)] == [0.5, 0.5, 0.5]


@given(st.integers(0, 10_000), st.integers(0, 10_000), st.floats(1.31, 20), st.floats(1.31, 20))
def test_the_line_falls_with_rows_and_with_the_level(fewer, more, better, worse):
    """Catches a sign error: a larger batch or a slower store must never be allowed to wait longer."""
    fewer, more = sorted((fewer, more))
    better, worse = sorted((better, worse))
    assert FITTED.close_line(more) <= FITTED.close_line(fewer)
    assert FITTED.close_line(more, worse) <= FITTED.close_line(more, better) + 1e-12


def test_the_line_leaves_room_for_the_write_itself():
    """Catches a line that forgets the write: waiting plus writing must fit the budget for the oldest row."""
    rows = 1000
    assert FITTED.close_line(rows) + FITTED.write_seconds(rows) <= FITTED.budget_seconds


@pytest.mark.parametrize(("level", "rows"), [(1.0, 3800), (12.0, 133), (50.0, 1)])
def test_a_write_must_fit_its_time_out_however_slow_the_store(level, rows):
    """Catches the time-out livelock: coalesced batches that can never finish."""
    assert FITTED.timeout_rows(1.0, level) == rows


def test_the_level_is_one_near_the_model_and_the_median_elsewhere():
    """Catches a mean: one straggler of five must not move the level."""
    level = model.StoreLevel()
    expected = FITTED.write_seconds(500)
    for ratio in (1.1, 1.2, 0.9, 40.0, 1.0):
        level.observe(FITTED, 500, ratio * expected)
    assert level.value == 1.0
    for _ in range(3):
        level.observe(FITTED, 500, 3.0 * expected)
    assert level.value == pytest.approx(3.0)


def test_the_level_stays_one_while_nothing_was_measured():
    """Catches a division by the zero cost of the static model."""
    level = model.StoreLevel()
    level.observe(STATIC, 500, 3.0)
    assert level.value == 1.0


def test_a_straggler_counts_four_times_the_expectation_at_most():
    """Catches sums that are not winsorised: one straggler would bend the fit."""
    sums = model.WriteSums()
    sums.add(100, 10.0, expected_seconds=0.5)
    assert (sums.n, sums.n2, sums.t, sums.nt, sums.t2, sums.writes) == (100, 10_000, 2.0, 200.0, 4.0, 1)
    assert sums.add(1, 10.0, expected_seconds=0.0)["t"] == 10.0
