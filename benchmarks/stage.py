"""Cases that run in this process: a stage of the product and its reference in turns, on the same input."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable
from typing import Any, Protocol

from benchmarks import allocation, case


class Bench(Protocol):
    """A stage and its reference with whatever they need. In each round: `inputs`, then `product` and `reference` on them."""

    def inputs(self) -> Any:
        """What the next round works on; not timed, nor is anything that a neighbouring stage would have done."""

    def product(self, inputs: Any) -> Any: ...

    def reference(self, inputs: Any) -> Any: ...

    def check(self, product: Any, reference: Any) -> None:
        """Raises DifferentOutputError."""

    def extra(self) -> dict[str, Any]:
        """Further figures, after the last round."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StageCase:
    """`open` makes the bench for so many events a round."""

    name: str
    says: str
    target: case.Target
    events: int
    quick_events: int
    open: Callable[[int], Bench]
    unit: str = "event"
    gated: bool = True

    def measure(self, effort: case.Effort) -> case.Measured:
        """Each round's outputs are compared; the first round warms up and is not counted."""
        events = effort.sized(self.events, self.quick_events)
        bench = self.open(events)
        samples = [_round(bench, events, turn) for turn in range(effort.rounds + 1)]
        return case.Measured(
            name=self.name,
            unit=self.unit,
            says=self.says,
            target=self.target,
            events=events,
            samples=samples[1:],
            allocated=_allocated(bench, events) if effort.allocations else {},
            extra=bench.extra(),
        )


def _allocated(bench: Bench, events: int) -> dict[str, allocation.Allocated]:
    inputs = bench.inputs()
    return {
        "product": allocation.observe(bench.product, inputs, events),
        "reference": allocation.observe(bench.reference, inputs, events),
    }


def _round(bench: Bench, events: int, turn: int) -> case.Sample:
    inputs = bench.inputs()
    gc.collect()
    # Objects that are only input would be looked at again by every collection that the reference's many objects cause.
    gc.freeze()
    try:
        if turn % 2:
            reference, reference_seconds = _timed(bench.reference, inputs)
            product, product_seconds = _timed(bench.product, inputs)
        else:
            product, product_seconds = _timed(bench.product, inputs)
            reference, reference_seconds = _timed(bench.reference, inputs)
    finally:
        gc.unfreeze()
    bench.check(product, reference)
    return case.Sample(product_us=product_seconds / events * 1e6, reference_us=reference_seconds / events * 1e6)


def _timed(call: Callable[[Any], Any], inputs: Any) -> tuple[Any, float]:
    """What the call gives, and the CPU seconds of all threads of this process meanwhile."""
    started = time.process_time()
    output = call(inputs)
    return output, time.process_time() - started
