"""Which endpoint takes the next write."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from penstock.core import endpoints

_SETTINGS = endpoints.Settings(first_seconds=1.0, longest_seconds=8.0, slow_in_a_row=3)
NAMES = ["a", "b", "c"]


def _made(names: list[str] | None = None, fraction: float = 0.0) -> endpoints.Endpoints:
    return endpoints.Endpoints(names or NAMES, random=lambda: fraction, settings=_SETTINGS)


def _write(chosen: endpoints.Endpoints, now: float = 0.0, *, fails: bool = False) -> str:
    address = chosen.pick(now)
    chosen.began(address)
    if fails:
        chosen.failed(now, address, began=now)
    else:
        chosen.answered(address)
    return address


def test_writes_go_round_and_batchers_begin_at_different_ones() -> None:
    """Catches a favourite endpoint, in one lane or for all lanes that start together."""
    chosen = _made()
    assert [_write(chosen) for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]
    assert {_made(fraction=fraction).pick(0.0) for fraction in (0.0, 0.4, 0.9)} == set(NAMES)


def test_one_that_is_there_again_gets_one_write_at_once() -> None:
    """Catches a restarted endpoint that is left alone for as long as it had been gone, and one that gets all writes unproven."""
    chosen = _made(["a", "b"])
    for _ in range(4):
        chosen.began("a")
        chosen.failed(0.0, "a", began=0.0)
    chosen.returned("a")
    chosen.returned("unknown")
    assert {_write(chosen, 0.1) for _ in range(4)} == {"a", "b"}
    chosen.began("a")
    chosen.failed(0.2, "a", began=0.2)
    chosen.returned("a")
    chosen.began("a")
    assert {_write(chosen, 0.2) for _ in range(4)} == {"b"}


def test_a_busy_endpoint_is_passed_over() -> None:
    """Catches round robin into an endpoint that has stalled: each turn would add one more write to it."""
    chosen = _made()
    stalled = chosen.pick(0.0)
    chosen.began(stalled)
    assert stalled not in [_write(chosen) for _ in range(10)]


def test_one_that_fails_is_away_for_longer_each_time_and_proves_itself_with_one_write() -> None:
    """Catches an endpoint that is never tried again, tried at once, or tried with every write that is waiting."""
    chosen = _made(["a", "b"])
    now = 0.0
    for seconds in (1.0, 2.0, 4.0, 8.0, 8.0):
        assert chosen.pick(now) == "a"
        chosen.began("a")
        chosen.failed(now, "a", began=now)
        assert {_write(chosen, now + share * seconds) for share in (0.0, 0.5, 0.99)} == {"b"}
        now += seconds
    chosen.began("a")
    assert {_write(chosen, now) for _ in range(5)} == {"b"}
    chosen.answered("a")
    assert {_write(chosen, now) for _ in range(4)} == {"a", "b"}


def test_calls_that_fail_together_are_one_failure() -> None:
    """Catches sixteen writes under way at once that keep a restarted process away for the longest time."""
    chosen = _made(["a", "b"])
    for _ in range(16):
        chosen.began("a")
    for _ in range(16):
        chosen.failed(5.0, "a", began=1.0)
    assert "a" in {_write(chosen, 6.0) for _ in range(3)}


def test_with_all_away_each_gets_its_turn() -> None:
    """Catches a lane that has nowhere to write to, and trials that all go to the same dead endpoint."""
    chosen = _made()
    assert {_write(chosen, 0.0, fails=True) for _ in range(3)} == set(NAMES)
    assert {_write(chosen, 0.0, fails=True) for _ in range(3)} == set(NAMES)


def test_a_failure_is_the_lanes_only_when_no_other_endpoint_works() -> None:
    """Catches an outage of the lane because of one dead replica of three, and one that is never seen because each failure is
    blamed on its endpoint."""
    chosen = _made()
    seen = []
    for _ in range(4):
        address = _write(chosen, 0.0, fails=True)
        seen.append(chosen.works_elsewhere(0.0, address))
    assert seen == [True, True, False, False]
    chosen.forgive()
    assert chosen.well() == 3
    assert chosen.works_elsewhere(0.0, _write(chosen, 0.0, fails=True))
    assert not _made(["only"]).works_elsewhere(0.0, "only")


def test_races_lost_in_a_row_are_a_failure() -> None:
    """Catches an endpoint that hangs and costs a second write with each first one; and one that was slow once."""
    chosen = _made(["a", "b"])
    for race in range(3):
        chosen.began("a")
        chosen.gave_up("a")
        chosen.lost(0.0, "a", began=0.0)
        assert (chosen.well() == 1) == (race == 2)
    assert chosen.pick_beside(0.0, "b") is None


def test_a_second_write_goes_to_another_endpoint_that_works_or_nowhere() -> None:
    """Catches a second write to the same endpoint, or to one that has just failed."""
    chosen = _made(["a", "b"])
    assert chosen.pick_beside(0.0, "a") == "b"
    chosen.began("b")
    chosen.failed(0.0, "b", began=0.0)
    assert chosen.pick_beside(0.0, "a") is None
    assert chosen.pick_beside(1.0, "a") is None, "it has not proved itself"
    assert _made(["only"]).pick_beside(0.0, "only") is None


@pytest.mark.parametrize("repeatable", [True, False])
def test_order_keeps_a_lane_at_one_endpoint_until_the_outcome_is_known(repeatable: bool) -> None:
    """Catches an ordered lane that writes on elsewhere while the last batch may still land behind the next; and one that waits
    although the store would not let it."""
    chosen = _made()
    chosen.keep_order(True, repeatable=repeatable)
    assert {_write(chosen) for _ in range(5)} == {"a"}
    chosen.began("a")
    chosen.failed(10.0, "a", began=10.0, may_land_until=40.0)
    assert chosen.works_elsewhere(10.0, "a") == repeatable
    assert chosen.pick(10.5) == ("b" if repeatable else "a")
    assert chosen.pick(39.9) == ("b" if repeatable else "a")
    chosen.update(["b", "c"])
    assert chosen.gone(39.9) == [], "it may still land"
    assert chosen.pick(40.0) in ("b", "c")
    assert chosen.gone(40.0) == ["a"]


def test_order_moves_on_at_once_from_an_endpoint_that_was_never_reached() -> None:
    """Catches a dead pod that holds an ordered lane for the whole write time-out although nothing of the write had left."""
    chosen = _made()
    chosen.keep_order(True, repeatable=False)
    assert _write(chosen, 0.0, fails=True) == "a"
    assert {_write(chosen, 0.1) for _ in range(4)} == {"b"}


def test_an_answer_makes_what_was_unknown_known() -> None:
    """Catches a lane that stays pinned after the endpoint has said what became of the batch."""
    chosen = _made()
    chosen.keep_order(True, repeatable=False)
    chosen.began(chosen.pick(0.0))
    chosen.failed(0.0, "a", began=0.0, may_land_until=30.0)
    assert _write(chosen, 1.0) == "a"
    assert _write(chosen, 2.0, fails=True) == "a"
    assert chosen.pick(2.0) != "a"


def test_endpoints_come_and_go() -> None:
    """Catches new writes to one that has gone, one that is forgotten while a write is under way, and an empty answer of the
    name service that leaves nothing."""
    chosen = _made()
    chosen.began("a")
    chosen.update(["b", "d"])
    assert (chosen.addresses, chosen.gone(0.0)) == (["b", "d"], ["c"])
    assert {_write(chosen) for _ in range(4)} == {"b", "d"}
    chosen.answered("a")
    assert chosen.gone(0.0) == ["a"]
    chosen.update([])
    assert chosen.addresses == ["b", "d"]


_STEPS = st.lists(
    st.tuples(st.sampled_from(["answer", "fail", "unknown", "give up", "lose", "update"]), st.floats(0.0, 5.0)), max_size=60
)


@given(_STEPS, st.booleans(), st.booleans())
@hypothesis_settings(max_examples=80, deadline=None)
def test_there_is_always_a_place_to_write_to_and_it_is_one_of_those_that_are_there(
    steps: list[tuple[str, float]], ordered: bool, repeatable: bool
) -> None:
    """Catches a state in which nothing can be picked, a write to an endpoint that has gone (but for one that order pins), and a
    count of writes under way that drifts."""
    chosen, now = _made(fraction=0.5), 0.0
    chosen.keep_order(ordered, repeatable=repeatable)
    for number, (step, seconds) in enumerate(steps):
        address = chosen.pick(now)
        pinned = ordered and not repeatable
        assert address in chosen.addresses or pinned
        chosen.began(address)
        now += seconds
        if step in ("fail", "unknown"):
            chosen.failed(now, address, began=now, may_land_until=now + 3.0 if step == "unknown" else -math.inf)
        elif step in ("answer", "update"):
            chosen.answered(address)
        else:
            chosen.gave_up(address)
            if step == "lose":
                chosen.lost(now, address, began=now)
        if step == "update":
            chosen.update([*NAMES[: 1 + number % 3], f"new{number % 2}"])
            chosen.gone(now)
        assert all(one.in_flight == 0 for one in chosen._known.values())
        assert 0 <= chosen.well() <= len(chosen.addresses)
