"""Lengths and bytes of text and binary columns as numpy arrays, without a copy.

Arrow's own conversion to numpy looks for pandas on every call, which costs more than a small block.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def offsets(column: pa.BinaryArray | pa.StringArray) -> npt.NDArray[np.int32]:
    """Where each value starts in the column's data, and where the last one ends."""
    buffer = column.buffers()[1]
    if buffer is None or not len(column):
        return np.zeros(1, np.int32)
    return np.frombuffer(buffer, np.int32)[column.offset : column.offset + len(column) + 1]


def lengths(column: pa.BinaryArray | pa.StringArray) -> npt.NDArray[np.int64]:
    """The length of each value in bytes; what a NULL has is not defined."""
    return np.diff(offsets(column)).astype(np.int64)


def data(column: pa.BinaryArray | pa.StringArray) -> npt.NDArray[np.uint8]:
    """All bytes of the column's buffer; `offsets` point into it."""
    buffer = column.buffers()[2]
    return np.frombuffer(buffer, np.uint8) if buffer is not None else np.zeros(0, np.uint8)
