"""The gate: what passes, what fails, and how often it looks before it says so."""

from __future__ import annotations

import dataclasses
import gc
import json

import pytest
from benchmarks import allocation, case, cases, gate


@dataclasses.dataclass(slots=True)
class Fake:
    """A case whose measurements come to these ratios, one after the other."""

    ratios: list[float]
    name: str = "fake"
    gated: bool = True

    def measure(self, effort: case.Effort) -> case.Measured:
        samples = [case.Sample(product_us=1.0, reference_us=self.ratios.pop(0))]
        return case.Measured(name=self.name, unit="event", says="", target=case.Target(), events=1, samples=samples)


RECORDED = {"ratio": 5.0, "tolerance": gate.TOLERANCE}


@pytest.mark.parametrize(
    ("ratios", "passes", "attempts"),
    [
        pytest.param([5.0], True, 1, id="as recorded"),
        pytest.param([5.0 / 1.2], True, 1, id="noise of 20 %"),
        pytest.param([2.0, 5.0], True, 2, id="one measurement was spoilt"),
        pytest.param([5.0 / 1.4] * 3, False, 3, id="40 % slower"),
    ],
)
def test_a_slowdown_fails_and_a_spoilt_measurement_does_not(ratios, passes, attempts):
    """Catches a gate that lets 40 % through, or that cries at a busy neighbour."""
    verdict = gate.judge(Fake(ratios), RECORDED)
    assert (verdict.passes, verdict.attempts) == (passes, attempts)


def test_every_gated_case_has_a_baseline_that_a_slowdown_of_two_fifths_misses():
    """Catches a case nobody recorded, and a tolerance that no longer means anything."""
    baseline = json.loads(gate.BASELINE.read_text())
    assert set(baseline) == {one.name for one in cases.ALL if one.gated}
    assert all(0 < known["tolerance"] < 1 - 1 / 1.4 for known in baseline.values())


def test_a_case_without_a_baseline_ends_with_a_remedy(capsys):
    """Catches a new case that is silently not held against anything."""
    assert gate.run([Fake([1.0], name="new")]) == 2
    assert "--record" in capsys.readouterr().err


def test_allocations_are_counted_per_event_and_the_collector_is_left_as_it_was():
    """Catches a figure that forgets to divide, and a callback that stays behind and slows down whatever follows."""
    before = list(gc.callbacks)
    found = allocation.observe(lambda size: bytearray(size), 1_000_000, 1_000)
    assert 1_000 <= found.peak_bytes < 1_100
    assert (found.arrow_bytes, gc.callbacks) == (0, before)
