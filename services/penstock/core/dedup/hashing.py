"""One 64-bit hash per event over its key columns: explicit, so that it is the same on every machine and release.

What is hashed are values, never how Arrow lays them out (slices, chunks, dictionaries, 32- or 64-bit offsets, what lies
under a NULL). Columns must have been cast to the declared schema before: a timestamp in another unit is another number.
It is no defence against somebody who makes collisions on purpose; who knows an id can send that id anyway.

    mix(z)       SplitMix64's finaliser: z ^= z >> 30, z *= M1, z ^= z >> 27, z *= M2, z ^= z >> 31 (mod 2^64)
    bytes b      h = mix(BYTES + length); for each 8 bytes of b, little-endian, zero-padded: h = mix(h ^ word)
                 from LONG_BYTES on, where a loop over words would be slow: BLAKE2b of b, 8 bytes, little-endian
    number       h = mix(NUMBER ^ word): signed 64-bit two's complement; wider ones go on word by word, lowest first
    float        as a number, its IEEE 754 double; -0.0 is 0.0 and every NaN is the same
    NULL         NULL
    key          h of its first column; for each further one h = mix(h * M1 ^ column); 0 becomes 1 (0 is "no key")
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Hashes = npt.NDArray[np.uint64]

_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_BYTES = np.uint64(0x9E3779B97F4A7C15)
_NUMBER = np.uint64(0xD6E8FEB86659FD93)
_NULL = np.uint64(0xA0761D6478BD642F)
_LONG_BYTES = 256
_WORD = 8
# Slices of this many rows keep the intermediate arrays in the second-level cache.
_SLICE_ROWS = 16_384


def hash_keys(columns: Sequence[pa.Array[Any] | pa.ChunkedArray[Any]]) -> Hashes:
    """One hash per row, never 0. All columns have the same length. Raises TypeError for lists, structs and maps."""
    if not columns:
        raise ValueError("a key has at least one column")
    hashes = _hash_column(columns[0])
    for column in columns[1:]:
        np.multiply(hashes, _M1, out=hashes)
        np.bitwise_xor(hashes, _hash_column(column), out=hashes)
        _mix_slices(hashes)
    hashes[hashes == 0] = 1
    return hashes


def _hash_column(column: pa.Array[Any] | pa.ChunkedArray[Any]) -> Hashes:
    if isinstance(column, pa.ChunkedArray):
        return np.concatenate([_hash_column(chunk) for chunk in column.chunks] or [np.empty(0, np.uint64)])
    if isinstance(column, pa.DictionaryArray):
        return _hash_dictionary(column)
    column = _plain(column)
    if not column.null_count:
        return _hash_values(column)
    hashes = np.full(len(column), _NULL)
    hashes[column.is_valid().to_numpy(zero_copy_only=False)] = _hash_values(column.drop_null())
    return hashes


def _plain(column: pa.Array[Any]) -> pa.Array[Any]:
    """Extension types as what they are stored in, all text and bytes as one type."""
    if isinstance(column, pa.ExtensionArray):
        return _plain(column.storage)
    if pa.types.is_fixed_size_binary(column.type):
        return column.cast(pa.binary()).cast(pa.large_binary())
    return column.cast(pa.large_binary()) if any(is_text(column.type) for is_text in _TEXTS) else column


_TEXTS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_binary_view,
)


def _hash_dictionary(column: pa.DictionaryArray[Any, Any]) -> Hashes:
    # The dictionary may hold NULL as well as the indices: one more entry at its end stands for the latter.
    values = np.append(_hash_column(column.dictionary), _NULL)
    indices = column.indices.cast(pa.int64()).fill_null(len(column.dictionary))
    taken: Hashes = values[indices.to_numpy()]
    return taken


def _hash_values(column: pa.Array[Any]) -> Hashes:
    """`column` is plain and has no NULL."""
    if isinstance(column, pa.LargeBinaryArray):
        return _hash_bytes(column)
    return np.empty(0, np.uint64) if pa.types.is_null(column.type) else _hash_words(_words(column))


def _words(column: pa.Array[Any]) -> list[Hashes]:
    """The column's numbers as 64-bit words, lowest first."""
    kind = column.type
    if pa.types.is_decimal(kind):
        return _decimal_words(column if kind.bit_width >= 128 else column.cast(pa.decimal128(kind.precision, kind.scale)))
    if pa.types.is_floating(kind):
        values = column.cast(pa.float64()).to_numpy().copy()
        values[np.isnan(values)] = np.nan
        values[values == 0] = 0.0  # -0.0 as well
        return [values.view(np.uint64)]
    if pa.types.is_temporal(kind) and pa.types.is_primitive(kind):
        return _words(column.view(pa.int64() if kind.bit_width == 64 else pa.int32()))
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return [column.to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64)]
    raise TypeError(f"a field of type {kind} can't be part of a key: use text, a number, a date or a time")


def _decimal_words(column: pa.Array[Any]) -> list[Hashes]:
    width = column.type.bit_width // 64
    words = _buffer(column, 1, "<u8")[column.offset * width :][: len(column) * width]
    return list(words.reshape(-1, width).T)


def _hash_words(words: Sequence[Hashes]) -> Hashes:
    hashes = np.full(len(words[0]), _NUMBER)
    for word in words:
        np.bitwise_xor(hashes, word, out=hashes)
        _mix_slices(hashes)
    return hashes


def _hash_bytes(column: pa.LargeBinaryArray) -> Hashes:
    hashes = np.empty(len(column), np.uint64)
    data = _buffer(column, 2, "u1")
    offsets = _buffer(column, 1, "<i8")[column.offset :]
    for first in range(0, len(column), _SLICE_ROWS):
        out = hashes[first : first + _SLICE_ROWS]
        bounds = offsets[first : first + len(out) + 1]
        _hash_stretch(data[bounds[0] : bounds[-1]], bounds - bounds[0], out)
    return hashes


def _buffer(column: pa.Array[Any], index: int, kind: str) -> npt.NDArray[Any]:
    buffer: Any = column.buffers()[index]
    return np.frombuffer(b"" if buffer is None else buffer, kind)


def _hash_stretch(data: npt.NDArray[np.uint8], bounds: npt.NDArray[np.int64], out: Hashes) -> None:
    """`data` holds one value after the other, `bounds` their edges."""
    lengths = np.diff(bounds)
    np.add(lengths.view(np.uint64), _BYTES, out=out)
    _mix(out)
    if lengths[0] == lengths.min() == lengths.max() and _WORD <= lengths[0] < _LONG_BYTES:
        _hash_uniform(data, int(lengths[0]), out)
        return
    long = np.flatnonzero(lengths >= _LONG_BYTES)
    lengths[long] = 0
    _hash_ragged(data, bounds[:-1], lengths, out)
    for row in long:
        digest = hashlib.blake2b(data[bounds[row] : bounds[row + 1]].tobytes(), digest_size=_WORD).digest()
        out[row] = int.from_bytes(digest, "little")


def _hash_uniform(data: npt.NDArray[np.uint8], length: int, out: Hashes) -> None:
    """All values have `length` bytes: their words stand at a fixed stride and are read in place."""
    whole, rest = divmod(length, _WORD)
    for word in range(whole):
        np.bitwise_xor(out, np.ndarray(out.shape, "<u8", data, word * _WORD, (length,)), out=out)
        _mix(out)
    if rest:
        last = np.ndarray(out.shape, "<u8", data, length - _WORD, (length,))
        np.bitwise_xor(out, last >> np.uint64(8 * (_WORD - rest)), out=out)
        _mix(out)


def _hash_ragged(data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], out: Hashes) -> None:
    padded = np.append(data, np.zeros(_WORD, np.uint8))
    words = np.ndarray((len(data) + 1,), "<u8", padded, 0, (1,))
    rows = np.flatnonzero(lengths)
    starts, lengths = starts[rows], lengths[rows]
    while len(rows):
        hashes = out[rows] ^ (words[starts] & _LOW_BYTES[np.minimum(lengths, _WORD)])
        _mix(hashes)
        out[rows] = hashes
        more = lengths > _WORD
        rows, starts, lengths = rows[more], starts[more] + _WORD, lengths[more] - _WORD


_LOW_BYTES = np.array([(1 << 8 * count) - 1 for count in range(_WORD + 1)], np.uint64)


def _mix_slices(hashes: Hashes) -> None:
    for first in range(0, len(hashes), _SLICE_ROWS):
        _mix(hashes[first : first + _SLICE_ROWS])


def _mix(hashes: Hashes) -> None:
    shifted = hashes >> np.uint64(30)
    np.bitwise_xor(hashes, shifted, out=hashes)
    np.multiply(hashes, _M1, out=hashes)
    np.right_shift(hashes, np.uint64(27), out=shifted)
    np.bitwise_xor(hashes, shifted, out=hashes)
    np.multiply(hashes, _M2, out=hashes)
    np.right_shift(hashes, np.uint64(31), out=shifted)
    np.bitwise_xor(hashes, shifted, out=hashes)
