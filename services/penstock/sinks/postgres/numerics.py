"""Decimals and whole numbers as Postgres' `numeric`, in bulk.

A numeric is a row of digits to the base 10,000. All values of a column get the same digits before and after the point, so
that they have one width; the server drops the zeros at both ends (`make_result` in numeric.c).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.sinks.postgres import binary

_BASE = 10_000
_NEGATIVE = 0x4000
MOST_DIGITS = 18
"""Of a decimal that fits in 64 bits."""
MOST_SCALE = 16
"""With more, the digits after the point don't fit in 64 bits."""


def from_decimals(values: pa.Array[Any]) -> binary.Bytes:
    """decimal128 of at most `MOST_DIGITS` digits, `MOST_SCALE` of them after the point; whatever stands under a NULL."""
    raw = np.frombuffer(values.buffers()[1], np.int64).reshape(-1, 2)[values.offset : values.offset + len(values), 0]
    negative = raw < 0
    return _encoded(_magnitude(raw, negative), negative, digits=values.type.precision, scale=values.type.scale)


def from_integers(values: npt.NDArray[Any]) -> binary.Bytes:
    """Whole numbers of any width."""
    negative = values < 0
    if values.dtype.kind == "u":
        return _encoded(values.astype(np.uint64), negative, digits=20, scale=0)
    return _encoded(_magnitude(values.astype(np.int64), negative), negative, digits=20, scale=0)


def _magnitude(values: npt.NDArray[np.int64], negative: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    unsigned = values.view(np.uint64) if values.flags.c_contiguous else values.copy().view(np.uint64)
    # Two's complement, so that the smallest number has its magnitude too.
    return np.where(negative, (~unsigned) + np.uint64(1), unsigned)


def _encoded(magnitude: npt.NDArray[np.uint64], negative: npt.NDArray[np.bool_], *, digits: int, scale: int) -> binary.Bytes:
    before, after = -(-max(0, digits - scale) // 4), -(-scale // 4)
    unit = np.uint64(10**scale)
    words = np.empty((len(magnitude), 4 + before + after), np.uint16)
    words[:, 0], words[:, 1] = before + after, np.uint16((before - 1) & 0xFFFF)
    words[:, 2], words[:, 3] = np.where(negative, _NEGATIVE, 0), scale
    _digits(magnitude // unit, words[:, 4 : 4 + before])
    _digits((magnitude % unit) * np.uint64(10 ** (4 * after - scale)), words[:, 4 + before :])
    return binary.big_endian(words)


def _digits(values: npt.NDArray[np.uint64], words: npt.NDArray[np.uint16]) -> None:
    """Write `values` to the base 10,000, the last digit last."""
    for column in range(words.shape[1] - 1, -1, -1):
        values, words[:, column] = values // np.uint64(_BASE), values % np.uint64(_BASE)
