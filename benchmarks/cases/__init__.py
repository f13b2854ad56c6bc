"""Every case, in the order of the table."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import case
from benchmarks.cases import batch_forming, deduplicating, encoding, keyed_state, parsing, transforming, whole

ALL: Sequence[case.Case] = [
    *parsing.CASES,
    *transforming.CASES,
    *deduplicating.CASES,
    *keyed_state.CASES,
    *batch_forming.CASES,
    *encoding.CASES,
    *whole.CASES,
]
