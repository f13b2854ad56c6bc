"""When a slow write is sent a second time."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from penstock.core import delivery, hedging

_IDENTITY = delivery.Identity
_ALL = list(_IDENTITY)


@pytest.mark.parametrize("identity", _ALL, ids=str)
def test_only_what_can_not_land_twice_may_be_sent_twice(identity: delivery.Identity) -> None:
    """Catches a duplicate generator: hedging where nothing, or a single writer, keeps ranges apart, or where order is kept."""
    once = {_IDENTITY.TRANSACTIONAL, _IDENTITY.TOKEN, _IDENTITY.ROW_KEY}
    assert hedging.allowed(identity, ordered=False) == (identity in once)
    assert not hedging.allowed(identity, ordered=True)


class _Lane:
    """Writes one after the other, by a clock that only it moves."""

    def __init__(self, percentile: int = 95, budget: int = 5) -> None:
        self.hedging = hedging.Hedging(hedging.Settings(after_percentile=percentile, budget_percent=budget))
        self.now = 0.0

    def write(self, seconds: float, rows: int = 100) -> hedging.Flight:
        flight = self.hedging.start(self.now, rows)
        self.now += seconds
        self.hedging.finish(self.now, flight, landed=True)
        return flight

    def learnt(self, *, seconds: float = 1.0, writes: int = 200) -> _Lane:
        for _ in range(writes):
            self.write(seconds)
        return self

    def asked(self, flight: hedging.Flight, *, calm: bool = True, another: bool = True) -> hedging.Withheld | None:
        return self.hedging.withheld(self.now, flight, calm=calm, another=another)


def test_the_delay_is_the_percentile_of_writes_alike() -> None:
    """Catches a delay that is fixed, that large writes make long for small ones, or that is known before enough was seen."""
    lane = _Lane(percentile=90)
    rng = random.Random(1)
    times = [1.0 + number / 10 for number in range(100)]
    rng.shuffle(times)
    for seconds in times[:19]:
        lane.write(seconds)
    assert math.isinf(lane.hedging.start(lane.now, 100).due)
    for seconds in times[19:]:
        lane.write(seconds)
        lane.write(50.0, rows=100_000)
    small, large = lane.hedging.start(lane.now, 130), lane.hedging.start(lane.now, 60_000)
    assert small.due - lane.now == pytest.approx(max(9.9, 2 * 6.0))
    assert large.due - lane.now == pytest.approx(2 * 50.0)
    assert math.isinf(lane.hedging.start(lane.now, 5_000).due)


def test_a_slow_write_is_sent_again_when_all_is_well() -> None:
    """Catches hedging that never happens."""
    lane = _Lane().learnt()
    flight = lane.hedging.start(lane.now, 100)
    lane.now = flight.due
    assert lane.asked(flight) is None
    assert flight.hedged


@pytest.mark.parametrize(
    ("told", "why"),
    [({"calm": False}, hedging.Withheld.TROUBLE), ({"another": False}, hedging.Withheld.ENDPOINT)],
    ids=str,
)
def test_it_is_not_while_the_store_is_in_trouble_or_nobody_else_is_there(told: dict[str, bool], why: hedging.Withheld) -> None:
    """Catches second writes to a store that has just failed, and a budget that is spent on writes that never leave."""
    lane = _Lane().learnt()
    flight = lane.hedging.start(lane.now, 100)
    for _ in range(100):
        assert lane.asked(flight, **told) is why
    assert lane.asked(flight) is None


@given(st.integers(1, 50), st.lists(st.integers(0, 3), min_size=1, max_size=300))
@hypothesis_settings(max_examples=60, deadline=None)
def test_second_writes_stay_within_their_share_of_the_first(budget: int, asked: list[int]) -> None:
    """Catches a budget that starts full, that refills with time, or that a burst of slow writes overdraws."""
    lane, first, second = _Lane(budget=budget), 0, 0
    for times in asked:
        flight = lane.hedging.start(lane.now, 100)
        first += 1
        for _ in range(times):
            second += lane.asked(flight) is None
        lane.now += 1.0
        lane.hedging.finish(lane.now, flight, landed=True)
    assert 100 * second <= budget * first


def test_a_long_quiet_time_saves_up_no_storm() -> None:
    """Catches a budget without a limit: after a day of fast writes every slow one of an hour would go twice."""
    lane = _Lane(budget=5).learnt(writes=5_000)
    flights = [lane.hedging.start(lane.now, 100) for _ in range(100)]
    assert sum(lane.asked(flight) is None for flight in flights) <= 5


def test_when_most_of_what_is_under_way_is_late_nothing_is_sent_again() -> None:
    """Catches a brown-out made worse: each write looks like a straggler, and no endpoint is faster."""
    lane = _Lane(budget=50).learnt()
    flights = [lane.hedging.start(lane.now, 100) for _ in range(4)]
    lane.now = flights[0].due
    assert [lane.asked(flight) for flight in flights] == [hedging.Withheld.ALL_SLOW] * 4
    lane.hedging.finish(lane.now, flights[3], landed=True)
    fresh = [lane.hedging.start(lane.now, 100) for _ in range(3)]
    assert lane.asked(flights[0]) is None
    assert not any(flight.hedged for flight in fresh)


def test_a_store_that_has_turned_slow_is_the_new_normal_after_a_while() -> None:
    """Catches hedging against a slow store by yesterday's measure, and hedging that stays off for ever after."""
    lane = _Lane().learnt()
    for _ in range(5):
        lane.write(3.0)
    flight = lane.hedging.start(lane.now, 100)
    assert lane.asked(flight) is hedging.Withheld.ALL_SLOW
    lane.hedging.finish(lane.now + 3.0, flight, landed=True)
    lane.learnt(seconds=3.0)
    flight = lane.hedging.start(lane.now, 100)
    assert flight.due - lane.now == pytest.approx(6.0)
    assert lane.asked(flight) is None


def test_writes_that_failed_say_nothing_about_how_long_a_write_takes() -> None:
    """Catches refusals in no time that make every write that lands a slow one."""
    lane = _Lane().learnt()
    for _ in range(200):
        flight = lane.hedging.start(lane.now, 100)
        lane.hedging.finish(lane.now + 0.001, flight, landed=False)
    assert lane.hedging.start(lane.now, 100).due - lane.now == pytest.approx(2.0)


def test_where_most_writes_are_alike_the_percentile_decides_and_else_what_is_notable() -> None:
    """Catches one write in twenty that is sent twice although none is slow, and a tail that is not seen."""
    tail, even = _Lane(percentile=90), _Lane(percentile=90)
    for number in range(200):
        tail.write(1.0 if number % 5 else 7.0)
        even.write(1.0 if number % 5 else 1.3)
    assert tail.hedging.start(0.0, 100).due == pytest.approx(7.0)
    assert even.hedging.start(0.0, 100).due == pytest.approx(2.0)


def test_a_store_that_remembers_so_many_writes_must_remember_this_one_for_as_long_as_its_copy_may_take() -> None:
    """Catches a copy that lands after the table has forgotten its token: its rows would stand there twice."""
    for seconds, why in ((0.1, hedging.Withheld.FORGETFUL), (1.0, None)):
        lane = _Lane()
        lane.hedging = hedging.Hedging(hedging.Settings(), write_seconds=30.0)
        lane.learnt(seconds=seconds, writes=300)
        flight = lane.hedging.start(lane.now, 100)
        lane.now = flight.due
        assert lane.asked(flight) is why
