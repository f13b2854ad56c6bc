"""What comes before a write and after one that failed, apart from the store."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from tests.integration import lane_run

from penstock.api import load
from penstock.batcher.writing import landing
from penstock.core import breaker, delivery, results
from penstock.machine import lanes
from penstock.telemetry import metrics


class _Client:
    forgiven = found = 0

    def returns(self) -> int:
        return self.found

    def forgive(self) -> None:
        self.forgiven += 1


class _Clock:
    """Moves when somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(asyncio, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def __call__(self) -> float:
        return self.now


def _lander(clock: _Clock, circuit: breaker.Breaker) -> landing.Lander:
    described = load.load_one(lane_run.pipeline())
    settings = dataclasses.replace(lanes.lane_for(described, described.spec.sinks[0]), sink="apart")
    return landing.Lander(settings, _Client(), None, circuit, None, clock)  # type: ignore[arg-type]


def _circuit(seconds: float = 1.0) -> breaker.Breaker:
    return breaker.Breaker(breaker.Settings(open_seconds=seconds, consecutive_failures=1), random=lambda: 0.0)


def _error(kind: results.ResultClass, *, elsewhere: bool = False, timed_out: bool = False) -> delivery.WriteFailedError:
    error = delivery.WriteFailedError(results.Failure(result_class=kind, code="X", message="as told"), timed_out=timed_out)
    error.elsewhere = elsewhere
    return error


async def test_a_trial_may_find_any_endpoint_and_each_round_of_trials_begins_anew(monkeypatch):
    """Catches a round of trials in which one dead endpoint speaks for all, and one that never ends because each trial of the
    round forgives the one before."""
    clock, circuit = _Clock(monkeypatch), _circuit()
    lander = _lander(clock, circuit)
    await lander._permission()
    assert lander._client.forgiven == 0
    for opening in (1, 2):
        circuit.record(clock.now, circuit.generation, results.ResultClass.OUTAGE)
        for _ in range(3):
            await lander._permission()
            circuit.record(clock.now, circuit.generation, results.ResultClass.UNCLASSIFIED)
        assert lander._client.forgiven == opening


@pytest.mark.parametrize(
    ("kind", "elsewhere", "state"),
    [
        (results.ResultClass.OUTAGE, False, breaker.State.OPEN),
        (results.ResultClass.OUTAGE, True, breaker.State.CLOSED),
        (results.ResultClass.PRESSURE, False, breaker.State.CLOSED),
    ],
    ids=str,
)
async def test_only_a_failure_of_the_store_is_the_circuits(monkeypatch, kind, elsewhere, state):
    """Catches a circuit that opens for one endpoint of several, or for a store that only asks for less."""
    circuit = _circuit()
    lander = _lander(_Clock(monkeypatch), circuit)
    await lander._failed(_error(kind, elsewhere=elsewhere), circuit.generation, 1)
    assert circuit.state is state
    assert lander.pressure.steps(0.0) == (kind is results.ResultClass.PRESSURE)


async def test_retries_wait_for_the_lanes_budget_and_all_of_them_go(monkeypatch):
    """Catches a budget that nobody asks, and one that gives a batch up."""
    clock, circuit = _Clock(monkeypatch), breaker.Breaker(breaker.Settings(), random=lambda: 0.0, mode=breaker.Mode.DISABLED)
    lander = _lander(clock, circuit)
    waited = metrics.RETRY_BUDGET_SECONDS.labels(**lander._settings.labels)
    before = waited._value.get()
    for _ in range(100):
        await lander._failed(_error(results.ResultClass.OUTAGE, elsewhere=True), circuit.generation, 1)
    # Pauses are 5 ms at most here, so a retry is always affordable after 25 ms, and ten are saved up.
    assert clock.now >= (100 - 10 - 1) * 0.025
    assert waited._value.get() - before > 1.0


async def test_a_write_that_ran_out_of_time_is_counted(monkeypatch):
    """Catches time-outs that look like any other outage to the tuner."""
    circuit = _circuit()
    lander = _lander(_Clock(monkeypatch), circuit)
    timeouts = metrics.WRITE_TIMEOUTS.labels(**lander._settings.labels)
    before = timeouts._value.get()
    for timed_out in (True, False):
        await lander._failed(_error(results.ResultClass.OUTAGE, timed_out=timed_out), circuit.generation, 1)
    assert timeouts._value.get() - before == 1


async def test_a_sink_that_is_there_again_is_tried_at_once(monkeypatch):
    """Catches a restarted sink that waits for the circuit's half minute, and a retry that sleeps its back-off out beside it."""
    clock, circuit = _Clock(monkeypatch), _circuit(30.0)
    lander = _lander(clock, circuit)
    lander.budget.spend = lambda _: 0.0
    for _ in range(6):
        circuit.look_now(clock.now)
        await lander._permission()
        circuit.record(clock.now, circuit.generation, results.ResultClass.OUTAGE)
    began = clock.now
    monkeypatch.setattr(lander._client, "returns", lambda: int(clock.now > began + 1.0))
    await lander._rest(20.0, circuit.generation)
    assert clock.now < began + 2.0
    await lander._permission()
    assert clock.now < began + 3.0


async def test_a_retry_does_not_sleep_on_when_the_circuit_has_closed_again(monkeypatch):
    """Catches a batch that holds its partition's offset back for half a minute although its neighbours land."""
    clock, circuit = _Clock(monkeypatch), _circuit()
    lander = _lander(clock, circuit)
    before = circuit.generation
    await lander._rest(3.0, before)
    assert clock.now >= 3.0
    circuit.record(clock.now, before, results.ResultClass.OUTAGE)
    for _ in range(3):
        await lander._permission()
        circuit.record(clock.now, circuit.generation, None)
    assert circuit.state is breaker.State.CLOSED
    began = clock.now
    await lander._rest(20.0, before)
    assert clock.now == began
