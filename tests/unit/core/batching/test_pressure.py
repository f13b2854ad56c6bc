"""What a lane does when its store asks for less."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from penstock.core.batching import model, pressure

_SETTINGS = pressure.Settings(step_seconds=2.0, quiet_seconds=20.0)
_TOLD = model.WriteModel(
    budget_seconds=0.5, target_rows=1_000, cap_rows=50_000, wanted_concurrency=8, maximum_concurrency=16, samples=100
)
_LIMITS = model.Limits(rows=10_000, bytes=1 << 24, linger_seconds=1.5, concurrency=16, write_timeout_seconds=30.0)


def test_sixteen_writes_that_tell_of_one_trouble_are_one_step() -> None:
    """Catches a lane that goes to its last step because its writes were many."""
    felt = pressure.Pressure(_SETTINGS)
    for number in range(16):
        felt.felt(number * 0.1)
    assert felt.steps(1.6) == 1
    felt.felt(2.0)
    assert felt.steps(2.0) == 2


def test_pressure_that_stays_goes_to_the_last_step_and_no_further() -> None:
    """Catches batches that double without end."""
    felt = pressure.Pressure(_SETTINGS)
    for number in range(100):
        felt.felt(number * 3.0)
    assert felt.steps(297.0) == pressure.MOST_STEPS


def test_a_quiet_while_takes_a_step_back_and_the_last_one_ends_it() -> None:
    """Catches a lane that stays slow after its store has recovered, and one that forgets at the first good write."""
    felt = pressure.Pressure(_SETTINGS)
    felt.felt(0.0)
    felt.felt(10.0)
    assert [felt.steps(now) for now in (10.0, 29.9, 30.0, 49.9, 50.0, 500.0)] == [2, 2, 1, 1, 0, 0]
    felt.felt(500.0)
    assert felt.changes_at(505.0) == 520.0
    assert felt.changes_at(520.0) == float("inf")


def test_the_lane_is_told_when_to_look_again() -> None:
    """Catches a dispatcher that sleeps through the step back."""
    felt = pressure.Pressure(_SETTINGS)
    assert felt.changes_at(0.0) == float("inf")
    felt.felt(0.0)
    felt.felt(3.0)
    assert felt.changes_at(4.0) == 23.0
    assert felt.changes_at(23.0) == 43.0


@given(st.integers(1, 20_000), st.integers(1, 16), st.floats(0.0, 2.0))
@hypothesis_settings(max_examples=60, deadline=None)
def test_more_pressure_means_fewer_larger_batches_within_the_limits(rows: int, slots: int, floor: float) -> None:
    """Catches a step in the wrong direction, and a limit of the pipeline that pressure breaks."""
    told = dataclasses.replace(_TOLD, target_rows=rows, wanted_concurrency=slots, minimum_linger_seconds=floor)
    eased = [pressure.eased(told, _LIMITS, steps) for steps in range(pressure.MOST_STEPS + 1)]
    assert eased[0] is told
    for before, after in itertools.pairwise(eased):
        assert after.target_rows >= before.target_rows
        assert after.wanted_concurrency <= before.wanted_concurrency
        assert after.close_line(1) >= before.close_line(1)
    for one in eased:
        assert one.target_rows <= max(rows, _LIMITS.rows)
        assert one.wanted_concurrency >= 1
        assert one.minimum_linger_seconds <= max(floor, _LIMITS.linger_seconds)


def test_the_first_step_is_worth_taking() -> None:
    """Catches steps that change nothing."""
    eased = pressure.eased(_TOLD, _LIMITS, 1)
    assert (eased.target_rows, eased.wanted_concurrency) == (2_000, 4)
    assert pressure.eased(_TOLD, _LIMITS, 3).minimum_linger_seconds == pytest.approx(0.75 * 1.5)
