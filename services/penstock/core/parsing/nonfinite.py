"""Finding NaN and Infinity in JSON text, which the bulk reader takes for numbers and RFC 8259 does not."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt

_TOKEN = re.compile(rb"(?:NaN|Inf(?:inity)?)[\s,\]}]")
_BEFORE = np.zeros(256, np.bool_)
_BEFORE[list(b":,[- \t\r\n")] = True


def may_stand_in(text: bytes) -> bool:
    """Whether such a token may stand in the text. Also true for some strings that hold the words: only cost follows."""
    data = np.frombuffer(text, np.uint8)
    return _token_at(text, data, b"N", b"a") or _token_at(text, data, b"I", b"n")


def _token_at(text: bytes, data: npt.NDArray[np.uint8], first: bytes, second: bytes) -> bool:
    if first not in text:
        return False
    starts = np.flatnonzero(data[1:-1] == first[0]) + 1
    likely = starts[_BEFORE[data[starts - 1]] & (data[starts + 1] == second[0])]
    return any(_TOKEN.match(text, start) for start in likely.tolist())
