"""Where each record of an answer begins, found by many walks at once.

It is the one thing about records that depends on the record before, and a walk from one to the next takes Python longer than
most else that is done with them. So it is begun in many places, which are guessed: records mostly end alike, so behind the
bytes that a batch ends with, another one likely begins. Each walk must end exactly where the next one began, so what is found
is right; where a guess was wrong, nothing is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from penstock.core.records import layout

_SEVEN_BITS = 0x7F
_ENDING_BYTES = 2
_LEAST_RECORD_BYTES = 7
_BETWEEN_BYTES = 8 << 10
_FEWEST = 64
"""A step of all walks costs as much as some forty of a single one."""


def _steps() -> npt.NDArray[np.int64]:
    """How far it is to the next record, by a record's first two bytes as one number; too far where these don't tell."""
    low, high = np.arange(1 << 16) & 0xFF, np.arange(1 << 16) >> 8
    steps = np.where(low <= _SEVEN_BITS, 1 + (low >> 1), 2 + ((low & _SEVEN_BITS | high << 7) >> 1))
    return np.where((low > _SEVEN_BITS) & (high > _SEVEN_BITS), np.iinfo(np.int32).max, steps)


_STEPS = _steps()


def begins(data: bytes, stretches: layout.Integers, counts: layout.Integers) -> layout.Integers | None:
    """Of the records that fill each of the stretches of `data`, rows of begin and end, with as many as `counts` says.

    None where they do not, where a guess was wrong, and where there are too few walks for it to pay.
    """
    filled = stretches[:, 0] < stretches[:, 1]
    if (np.where(filled, counts < 1, counts != 0)).any():
        return None
    stretches, counts = stretches[filled], counts[filled]
    guessed = [_guessed(data, begin, end) for begin, end in stretches.tolist()]
    if sum(map(len, guessed)) < _FEWEST:
        return None
    total, firsts = int(counts.sum()), np.cumsum(counts) - counts
    # More steps than this take longer than a single walk.
    found = _walked(data, guessed, stretches[:, 1].tolist(), min(total, len(data) // _LEAST_RECORD_BYTES) // _FEWEST)
    agrees = found is not None and len(found) == total and bool((found[firsts] == stretches[:, 0]).all())
    return found if agrees else None


def _walked(data: bytes, guessed: Sequence[Sequence[int]], ends: Sequence[int], most_steps: int) -> layout.Integers | None:
    """What a walk from each of the places passes on its way to the next; the last of a stretch walks to its end."""
    at = np.array([*itertools.chain.from_iterable(guessed)], np.int64)
    until = np.array([stop for places, end in zip(guessed, ends, strict=True) for stop in (*places[1:], end)], np.int64)
    words = np.ndarray((len(data) - 1,), "<u2", data, strides=(1,))
    passed = []
    for _ in range(most_steps):
        passed.append(at)
        if not (walking := at < until).any():
            break
        at = at + _STEPS[words[np.minimum(at, len(words) - 1)]] * walking
    if (at != until).any():
        return None
    places = np.array(passed).T
    return places[places < until[:, np.newaxis]]


def _guessed(data: bytes, begin: int, end: int) -> list[int]:
    """Places to begin at, the first of them for certain."""
    ending, guessed = data[end - _ENDING_BYTES : end], [begin]
    while (at := data.find(ending, guessed[-1] + _BETWEEN_BYTES, end - _ENDING_BYTES)) >= 0:
        guessed.append(at + _ENDING_BYTES)
    return guessed
