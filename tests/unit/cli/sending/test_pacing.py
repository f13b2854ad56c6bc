"""Waiting as long as needed and no longer."""

from __future__ import annotations

import random

import pytest

from penstock.cli.sending import pacing


def test_a_rate_is_kept_over_many_requests() -> None:
    """Catches a pace that forgets what it has already let go."""
    pace = pacing.Pace(100)
    assert [pace.delay_seconds(0.0, 50) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]


def test_a_sender_that_fell_behind_makes_no_burst() -> None:
    """Catches a pace that pays back lost time: the store would get it all at once."""
    pace = pacing.Pace(100)
    pace.delay_seconds(0.0, 50)
    assert [pace.delay_seconds(10.0, 50) for _ in range(2)] == [0.0, 0.5]


def test_no_rate_is_no_wait() -> None:
    """Catches a division by zero."""
    assert pacing.Pace(0).delay_seconds(5.0, 1000) == 0.0


def test_the_back_off_doubles_to_its_bound_and_starts_again() -> None:
    """Catches a back-off without a bound, and one that stays long after a success."""
    backoff = pacing.Backoff(random.Random(1))
    waits = [backoff.next_seconds() for _ in range(10)]
    steps = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert all(step / 2 <= wait <= step for wait, step in zip(waits, steps, strict=True))
    backoff.reset()
    assert backoff.next_seconds() <= 0.1


def test_two_senders_do_not_march_in_step() -> None:
    """Catches a back-off without jitter."""
    first, second = pacing.Backoff(random.Random(1)), pacing.Backoff(random.Random(2))
    assert first.next_seconds() != pytest.approx(second.next_seconds())
