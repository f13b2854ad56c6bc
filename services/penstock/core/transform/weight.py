"""What rows repeat of their event, in bytes: an event with a long text and many items is small in the log and huge as rows.

Only counted, before anything is made; how much is too much is the lane's business.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.core import octets
from penstock.core.transform import compile as compiler
from penstock.core.transform import explode, sources

Bytes = npt.NDArray[np.int64]


def repeated_columns(plan: compiler.Plan) -> tuple[str, ...]:
    """The block's columns of no fixed width that every row of an event repeats, or may repeat in what is computed from them."""
    if not plan.explode:
        return ()
    computed = " ".join(step.sql for step in plan.steps if step is not plan.dropped)
    read = {output.origin.source for output in plan.outputs if output.origin}
    return tuple(
        source.column
        for source in plan.readable.values()
        if source.role is sources.Role.EVENT
        and not explode.is_copied(source.field.type)
        and (source.internal in read or re.search(rf"\b{source.internal}\b", computed))
    )


def value_bytes(column: explode.Array) -> Bytes:
    """The bytes of each value, of nested ones too; what a NULL has is nearly nothing, but not defined."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return octets.lengths(column)
    if pa.types.is_struct(kind):
        return sum((value_bytes(member) for member in column.flatten()), np.zeros(len(column), np.int64))
    if pa.types.is_list(kind):
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(value_bytes(column.values))])
        return np.asarray(np.diff(ends[np.asarray(column.offsets)]), dtype=np.int64)
    return np.full(len(column), max(1, kind.bit_width // 8), np.int64)
