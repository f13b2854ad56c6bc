"""What several stages cost together, from the samples of their own cases."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import case

_BATCHER = ("deduplicate", "transform")


def sums(measured: Sequence[case.Measured]) -> list[case.Measured]:
    """`deduplicate_and_transform`, when both were measured."""
    parts = [one for one in measured if one.name in _BATCHER]
    if len(parts) != len(_BATCHER):
        return []
    rounds = zip(*(one.samples for one in parts), strict=True)
    return [
        case.Measured(
            name="deduplicate_and_transform",
            unit="event",
            says="the two above together: the batcher's work on an event",
            target=case.Target(cpu_us=1.2),
            events=parts[0].events,
            samples=[
                case.Sample(
                    product_us=sum(sample.product_us for sample in samples),
                    reference_us=sum(sample.reference_us for sample in samples),
                )
                for samples in rounds
            ],
        )
    ]
