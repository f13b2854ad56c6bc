"""Which partition a record goes to: the same as the Java client chooses, so that equal keys meet whoever has written them.

The murmur2 of Kafka's `Utils.murmur2` (Austin Appleby's MurmurHash2, seed 0x9747b28c), for all keys at once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from penstock.sinks import runs
from penstock.sinks.kafka import octets

_SEED = np.uint32(0x9747B28C)
_M = np.uint32(0x5BD1E995)
_POSITIVE = np.uint32(0x7FFFFFFF)


def choose(keys: octets.Bytes, partitions: int, keyless: int) -> npt.NDArray[np.int64]:
    """The partition of each row; `keyless` is the one for rows whose key is null."""
    if repeated := runs.find([keys]):
        return choose(repeated.once(keys), partitions, keyless)[repeated.of_row]
    encoded = keys.dictionary_encode()
    found = (murmur2(encoded.dictionary) & _POSITIVE).astype(np.int64) % partitions
    codes = encoded.indices.fill_null(len(found)).to_numpy(zero_copy_only=False)
    return np.asarray(np.append(found, keyless % partitions)[codes])


def murmur2(keys: octets.Bytes) -> npt.NDArray[np.uint32]:
    """Of each value; without nulls. Steps by the words of the longest key, not by key."""
    sizes = octets.lengths(keys)
    offsets = np.frombuffer(keys.buffers()[1], dtype=np.int64)[keys.offset : keys.offset + len(keys)]
    # Four more bytes, so that there is a word, however little of it is the key's, at every place.
    data = np.append(np.frombuffer(keys.buffers()[2] or b"", dtype=np.uint8), np.zeros(4, np.uint8))
    at_byte: npt.NDArray[np.uint32] = np.ndarray((len(data) - 3,), dtype="<u4", buffer=data, strides=(1,))
    found = _SEED ^ sizes.astype(np.uint32)
    words = sizes // 4
    for word in range(int(words.max(initial=0))):
        mine = np.flatnonzero(words > word)
        found[mine] = found[mine] * _M ^ _mixed(at_byte[offsets[mine] + 4 * word])
    return np.asarray(_finished(_with_rest(found, data, offsets + 4 * words, sizes % 4)))


def _mixed(word: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    word = word * _M
    return np.asarray((word ^ word >> np.uint32(24)) * _M)


def _with_rest(
    found: npt.NDArray[np.uint32], data: npt.NDArray[np.uint8], at: octets.Integers, rest: octets.Integers
) -> npt.NDArray[np.uint32]:
    """With the one to three bytes after the last whole word."""
    for place in range(3):
        mine = np.flatnonzero(rest > place)
        found[mine] ^= data[at[mine] + place].astype(np.uint32) << np.uint32(8 * place)
    mine = np.flatnonzero(rest > 0)
    found[mine] *= _M
    return found


def _finished(found: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    found = (found ^ found >> np.uint32(13)) * _M
    return found ^ found >> np.uint32(15)
