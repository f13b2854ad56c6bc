"""The circuit breaker: its rules one by one, then any order of events against what must always hold."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.core import breaker, results

OUTAGE, CONFIG, DATA = results.ResultClass.OUTAGE, results.ResultClass.CONFIG, results.ResultClass.DATA
PRESSURE, UNCLASSIFIED = results.ResultClass.PRESSURE, results.ResultClass.UNCLASSIFIED
Outcome = results.ResultClass | None


def made(mode: breaker.Mode = breaker.Mode.AUTO, jitter: float = 0.0, **changes: float) -> breaker.Breaker:
    return breaker.Breaker(breaker.Settings(**changes), random=lambda: jitter, mode=mode)  # type: ignore[arg-type]


def tell(circuit: breaker.Breaker, now: float, *outcomes: Outcome) -> None:
    """One allowed write after the other."""
    for outcome in outcomes:
        assert circuit.allow(now)
        circuit.record(now, circuit.generation, outcome)


def opened(now: float = 0.0, **changes: float) -> breaker.Breaker:
    circuit = made(**changes)
    tell(circuit, now, OUTAGE, OUTAGE, OUTAGE)
    assert circuit.state is breaker.State.OPEN
    return circuit


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ([OUTAGE, OUTAGE], "Closed"),
        ([OUTAGE, OUTAGE, OUTAGE], "Open"),
        ([CONFIG, OUTAGE, CONFIG], "Open"),
        ([OUTAGE, None, OUTAGE], "Open"),
        ([None, None, OUTAGE, OUTAGE], "Closed"),
        ([None, None, OUTAGE, OUTAGE, OUTAGE], "Open"),
        ([OUTAGE, OUTAGE, None], "Closed"),
        ([DATA] * 20, "Closed"),
        ([PRESSURE] * 20, "Closed"),
        ([UNCLASSIFIED] * 20, "Closed"),
        ([DATA, DATA, OUTAGE, OUTAGE], "Closed"),
        ([PRESSURE] * 20 + [OUTAGE] * 3, "Open"),
    ],
    ids=str,
)
def test_a_share_of_failures_opens_it(outcomes: list[Outcome], state: str) -> None:
    """Catches rejected rows that count as failures, no minimum of attempts, > for >= at the share, and a success that opens."""
    circuit = made()
    tell(circuit, 0.0, *outcomes)
    assert circuit.state.value == state


def test_failures_in_a_row_open_a_quiet_lane() -> None:
    """Catches a breaker that never sees enough attempts in its window: one write a minute."""
    circuit = made()
    for minute in range(4):
        tell(circuit, minute * 60.0, OUTAGE)
    assert circuit.state is breaker.State.CLOSED
    tell(circuit, 240.0, OUTAGE)
    assert circuit.state is breaker.State.OPEN
    assert circuit.reason == "5 failures in a row"


def test_a_success_ends_the_row_and_what_is_neither_does_not() -> None:
    """Catches a row that never ends and one that pressure ends."""
    circuit = made(failure_share=1.0)
    tell(circuit, 0.0, OUTAGE, OUTAGE, DATA, OUTAGE, OUTAGE, PRESSURE, OUTAGE, UNCLASSIFIED, OUTAGE)
    assert circuit.state is breaker.State.CLOSED
    tell(circuit, 0.0, OUTAGE)
    assert circuit.state is breaker.State.OPEN


def test_attempts_leave_the_window() -> None:
    """Catches a share over all time: an old success would hide a new outage, an old failure would open a healthy lane."""
    circuit = made(consecutive_failures=99)
    tell(circuit, 0.0, *[None] * 10)
    tell(circuit, 9.9, OUTAGE, OUTAGE, OUTAGE)
    assert circuit.state is breaker.State.CLOSED
    tell(circuit, 10.0, OUTAGE)
    assert circuit.state is breaker.State.OPEN
    quiet = made(consecutive_failures=99)
    tell(quiet, 0.0, OUTAGE, OUTAGE)
    tell(quiet, 10.0, OUTAGE)
    assert quiet.state is breaker.State.CLOSED


def test_open_lets_nothing_through_until_the_wait_is_over_then_one_at_a_time() -> None:
    """Catches a store that comes back under the full load of all slots."""
    circuit = opened()
    assert (circuit.allow(1.9), circuit.retry_in_seconds(1.0)) == (False, 1.0)
    assert circuit.allow(2.0)
    assert circuit.state is breaker.State.HALF_OPEN
    assert not circuit.allow(2.0)
    circuit.record(3.0, circuit.generation, None)
    assert circuit.allow(3.0)


def test_good_trials_close_it_and_a_failed_one_opens_it_for_longer() -> None:
    """Catches closing after one success and a wait that does not grow."""
    circuit = opened()
    tell(circuit, 30.0, None, None, OUTAGE)
    assert (circuit.state, circuit.retry_in_seconds(30.0)) == (breaker.State.OPEN, 4.0)
    tell(circuit, 90.0, None, DATA)
    assert circuit.state is breaker.State.HALF_OPEN
    tell(circuit, 90.0, None)
    assert circuit.state is breaker.State.CLOSED


def test_a_closed_circuit_starts_with_a_clean_window() -> None:
    """Catches failures from before the outage that open it again at the first hiccup."""
    circuit = opened(open_seconds=1.0)
    tell(circuit, 1.0, None, None, None, OUTAGE, OUTAGE)
    assert circuit.state is breaker.State.CLOSED


def test_the_wait_grows_to_its_maximum_and_starts_again_after_a_healthy_time() -> None:
    """Catches waits that outlast an outage by minutes, one never short again, and one that forgets a store which flaps."""
    circuit, now, waits = opened(), 30.0, []
    for _ in range(6):
        tell(circuit, now, OUTAGE)
        waits.append(circuit.retry_in_seconds(now))
        now += waits[-1]
    assert waits == [4, 8, 16, 30, 30, 30]
    tell(circuit, now, None, None, None, OUTAGE, OUTAGE, OUTAGE)
    assert circuit.retry_in_seconds(now) == 30
    now += 30
    tell(circuit, now, None, None, None)
    tell(circuit, now + 11, OUTAGE, OUTAGE, OUTAGE)
    assert circuit.retry_in_seconds(now + 11) == 2


def test_jitter_only_shortens_the_wait() -> None:
    """Catches lanes that all come back at once, and one that stays away for longer than it was told."""
    circuit = made(jitter=0.8)
    tell(circuit, 0.0, OUTAGE, OUTAGE, OUTAGE)
    assert circuit.retry_in_seconds(0.0) == pytest.approx(1.6)


@pytest.mark.parametrize("outcome", [PRESSURE, UNCLASSIFIED])
def test_a_trial_that_tells_nothing_frees_the_door_and_decides_nothing(outcome: Outcome) -> None:
    """Catches a half-open circuit that waits for ever, or closes on an answer that is none."""
    circuit = opened()
    tell(circuit, 30.0, *[outcome] * 10)
    assert circuit.state is breaker.State.HALF_OPEN


def test_a_trial_whose_outcome_never_comes_does_not_hold_the_door_for_ever() -> None:
    """Catches a lane that stands still because one write was cancelled."""
    circuit = opened()
    assert circuit.allow(30.0)
    assert (circuit.allow(59.0), circuit.retry_in_seconds(59.0), circuit.allow(60.0)) == (False, 1.0, True)


@pytest.mark.parametrize("outcome", [None, OUTAGE], ids=str)
def test_outcomes_of_an_older_generation_are_ignored(outcome: Outcome) -> None:
    """Catches late results of writes that began before the circuit opened: they would close or reopen it."""
    circuit = made()
    late = circuit.generation
    tell(circuit, 0.0, OUTAGE, OUTAGE, OUTAGE)
    assert circuit.allow(30.0)
    for _ in range(5):
        circuit.record(30.0, late, outcome)
    assert circuit.state is breaker.State.HALF_OPEN
    assert not circuit.allow(30.0)


def test_what_is_there_again_is_tried_at_once_and_has_to_prove_itself() -> None:
    """Catches a wait of half a minute for what has been seen to be back, and a connection taken for good writes."""
    circuit = opened(first_seconds=20.0)
    assert not circuit.allow(1.0)
    circuit.look_now(1.0)
    assert circuit.allow(1.0)
    assert circuit.state is breaker.State.HALF_OPEN
    circuit.record(1.0, circuit.generation, OUTAGE)
    assert circuit.state is breaker.State.OPEN
    assert not circuit.allow(20.0)


def test_forced_open_lets_nothing_through_until_the_mode_changes() -> None:
    """Catches a person's decision that a timer or a good write undoes."""
    circuit = made(breaker.Mode.FORCED_OPEN)
    assert (circuit.state, circuit.allow(1e9), circuit.retry_in_seconds(0.0)) == (breaker.State.OPEN, False, math.inf)
    circuit.record(0.0, circuit.generation, None)
    assert not circuit.allow(1e9)
    circuit.set_mode(breaker.Mode.AUTO)
    assert (circuit.state, circuit.allow(0.0)) == (breaker.State.CLOSED, True)


def test_metrics_only_shows_the_state_and_lets_all_through() -> None:
    """Catches a rehearsal that stops the lane, and one that shows nothing."""
    circuit = made(breaker.Mode.METRICS_ONLY)
    tell(circuit, 0.0, OUTAGE, OUTAGE, OUTAGE)
    assert (circuit.state, circuit.allow(1.0), circuit.retry_in_seconds(1.0)) == (breaker.State.OPEN, True, 0.0)
    tell(circuit, 30.0, None, None, None)
    assert circuit.state is breaker.State.CLOSED


def test_disabled_judges_nothing() -> None:
    """Catches a state that goes on moving behind a disabled breaker."""
    circuit = made(breaker.Mode.DISABLED)
    tell(circuit, 0.0, *[OUTAGE] * 20)
    assert (circuit.state, circuit.retry_in_seconds(0.0)) == (breaker.State.CLOSED, 0.0)


def test_setting_the_same_mode_again_forgets_nothing() -> None:
    """Catches an operator whose every push closes an open circuit."""
    circuit = opened()
    circuit.set_mode(breaker.Mode.AUTO)
    assert circuit.state is breaker.State.OPEN


class Machine(RuleBasedStateMachine):
    """Several writes at a time, outcomes in any order, time that passes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.circuit = made(jitter=0.5)
        self.writes: list[int] = []
        self.good_trials = 0
        self.failures = 0

    @rule(seconds=st.sampled_from([0.0, 1.0, 5.0, 20.0, 60.0, 500.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def write(self) -> None:
        before, wait = self.circuit.state, self.circuit.retry_in_seconds(self.now)
        allowed = self.circuit.allow(self.now)
        assert allowed == (wait == 0.0)
        if before is breaker.State.OPEN and allowed:
            assert self.circuit.state is breaker.State.HALF_OPEN
            self.good_trials = 0
        if allowed:
            self.writes.append(self.circuit.generation)

    @precondition(lambda self: self.writes)
    @rule(data=st.data(), outcome=st.sampled_from([None, *results.ResultClass]))
    def answer(self, data: st.DataObject, outcome: Outcome) -> None:
        generation = self.writes.pop(data.draw(st.integers(0, len(self.writes) - 1)))
        before, current = self.circuit.state, self.circuit.generation
        self.circuit.record(self.now, generation, outcome)
        after = self.circuit.state
        if generation != current:
            assert self.circuit.generation == current
            return
        counts = outcome in (OUTAGE, CONFIG)
        self.failures = self.failures + 1 if counts else self.failures
        self.good_trials += before is breaker.State.HALF_OPEN and outcome in (None, DATA)
        if before is breaker.State.HALF_OPEN and counts:
            assert after is breaker.State.OPEN
        elif before is breaker.State.HALF_OPEN:
            assert after is (breaker.State.CLOSED if self.good_trials == 3 else breaker.State.HALF_OPEN)
        elif after is breaker.State.OPEN:
            assert counts
            assert self.failures >= 2
        if after is not before:
            self.failures = 0

    @invariant()
    def an_open_circuit_always_ends(self) -> None:
        assert self.circuit.retry_in_seconds(self.now) <= 30.0
        assert self.circuit.reason


TestBreaker = Machine.TestCase
TestBreaker.__doc__ = "Catches a way into or out of a state that the rules do not know."
TestBreaker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_the_word_of_others_opens_a_closed_circuit_and_no_other() -> None:
    """Catches a trial that is cut off, a mode that is overruled, and a circuit that good writes have closed just now."""
    circuit = made()
    assert circuit.trip(0.0, "2 of 3 batchers")
    assert (circuit.state, circuit.reason, circuit.retry_in_seconds(0.0)) == (breaker.State.OPEN, "2 of 3 batchers", 2.0)
    assert not circuit.trip(1.0, "again")
    tell(circuit, 2.0, None)
    assert (circuit.state, circuit.trip(2.0, "again")) == (breaker.State.HALF_OPEN, False)
    tell(circuit, 2.0, None, None)
    assert (circuit.state, circuit.trip(3.0, "again")) == (breaker.State.CLOSED, False)
    assert circuit.trip(33.0, "again")
    for mode in (breaker.Mode.METRICS_ONLY, breaker.Mode.DISABLED, breaker.Mode.FORCED_OPEN):
        assert not made(mode).trip(0.0, "2 of 3 batchers")


def test_other_bounds_hold_from_the_next_outcome_on() -> None:
    """Catches failures that are forgotten by an edit, and a wait of the old length."""
    circuit = made(minimum_attempts=9, consecutive_failures=9)
    tell(circuit, 0.0, OUTAGE, OUTAGE)
    circuit.follow(breaker.Settings(consecutive_failures=3, minimum_attempts=9), breaker.Mode.AUTO)
    tell(circuit, 0.0, OUTAGE)
    assert circuit.state is breaker.State.OPEN
    circuit = opened(first_seconds=300.0, open_seconds=300.0)
    circuit.follow(breaker.Settings(open_seconds=5.0), breaker.Mode.AUTO)
    assert circuit.retry_in_seconds(0.0) == 5.0
    circuit.follow(breaker.Settings(), breaker.Mode.FORCED_OPEN)
    assert not circuit.allow(1e9)
