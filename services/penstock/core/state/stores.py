"""The last value of each key, in one array: fixed-width values as their bytes, texts as Python's own strings.

A string of Python's costs some 50 bytes more than its characters, but is replaced in place; a heap of bytes would have to be
swept. Only the keys of a block are turned into strings, not its events.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Rows = npt.NDArray[np.int64]
Array: TypeAlias = "pa.Array[Any]"


class Store(Protocol):
    """One value per row, NULL at first. Rows given to one call differ from each other."""

    @property
    def memory_bytes(self) -> int: ...

    def grow(self, rows: int) -> None:
        """Room for so many rows."""

    def keep(self, rows: Rows) -> None:
        """Only these rows, numbered anew in this order."""

    def get(self, rows: Rows) -> Array: ...

    def put(self, rows: Rows, values: Array) -> None: ...


def store(kind: pa.DataType) -> Store:
    """An empty one for values of this type."""
    return Texts(kind) if is_text(kind) else Fixed(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether values have no fixed width."""
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


class Fixed:
    """Numbers, times, truth values, decimals."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._plain: pa.DataType = pa.uint8() if pa.types.is_boolean(kind) else kind
        self._values = np.zeros(0, _WIDTHS[self._plain.bit_width])
        self._valid = np.zeros(0, bool)

    @property
    def memory_bytes(self) -> int:
        return int(self._values.nbytes + self._valid.nbytes)

    def grow(self, rows: int) -> None:
        self._values, self._valid = grown(self._values, rows), grown(self._valid, rows)

    def keep(self, rows: Rows) -> None:
        self._values, self._valid = self._values[rows], self._valid[rows]

    def get(self, rows: Rows) -> Array:
        valid = np.packbits(self._valid[rows], bitorder="little")
        buffers = [pa.py_buffer(valid.tobytes()), pa.py_buffer(self._values[rows].tobytes())]
        return pa.Array.from_buffers(self._plain, len(rows), buffers).cast(self._kind)

    def put(self, rows: Rows, values: Array) -> None:
        plain = values.cast(self._plain)
        width = self._values.dtype.itemsize
        held: Any = plain.buffers()[1]
        if held is not None:
            self._values[rows] = np.frombuffer(held, self._values.dtype, len(plain), plain.offset * width)
        self._valid[rows] = values.is_valid().to_numpy(zero_copy_only=False)


_WIDTHS = {8: "u1", 32: "u4", 64: "u8", 128: "V16"}


class Texts:
    """Text and byte strings."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._values = np.full(0, None, object)
        self._weights = np.zeros(0, np.int32)

    @property
    def memory_bytes(self) -> int:
        """About: a text with other than ASCII characters takes more."""
        return int(self._values.nbytes + self._weights.nbytes + self._weights.sum())

    def grow(self, rows: int) -> None:
        self._values = np.concatenate([self._values, np.full(rows - len(self._values), None, object)])
        self._weights = grown(self._weights, rows)

    def keep(self, rows: Rows) -> None:
        self._values, self._weights = self._values[rows], self._weights[rows]

    def get(self, rows: Rows) -> Array:
        return pa.array(self._values[rows], self._kind)

    def put(self, rows: Rows, values: Array) -> None:
        self._values[rows] = values.to_numpy(zero_copy_only=False)
        weights = pc.fill_null(pc.add(pc.binary_length(values), _OBJECT_BYTES), 0)
        self._weights[rows] = weights.to_numpy(zero_copy_only=False)


_OBJECT_BYTES = 56


def grown(values: npt.NDArray[Any], rows: int) -> npt.NDArray[Any]:
    """With zeros behind it, up to so many rows."""
    return np.concatenate([values, np.zeros(rows - len(values), values.dtype)])
