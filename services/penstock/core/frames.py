"""Cutting a request's body into documents, one per event, without judging what is in them.

Every document keeps the index by which its sender will find it: the line (from 0, blank ones counted) of NDJSON, the place
in a JSON array. Blank lines are no events. What can't be cut is one refused document at the place where the cutting ended.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.core import octets
from penstock.core.parsing import rejection

_BOM = b"\xef\xbb\xbf"
_WHITESPACE = b" \t\r\n"
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|"|[\[\]{},]', re.DOTALL)
_OPENING = (b"[", b"{")
_CLOSING = (b"]", b"}")


MOST_EVENTS = 1_000_000
"""In one request: framing takes far more memory than the body, event by event."""


class UnreadableBodyError(Exception):
    """The body as a whole is not what it says it is; nothing of it was taken."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """The documents of one request, the index of each, and what is refused because it could not be cut out."""

    documents: pa.BinaryArray
    indices: npt.NDArray[np.int64]
    broken: tuple[rejection.Rejection, ...] = ()


def documents(parts: list[bytes]) -> Frames:
    """Documents that the transport framed; all of them count, empty ones too."""
    array = pa.array(parts, pa.binary())
    return Frames(documents=array, indices=np.arange(len(array)))


def single(body: bytes) -> Frames:
    """The whole body is one event."""
    return documents([body.removeprefix(_BOM)])


def ndjson(body: bytes) -> Frames:
    """One document per line. A byte order mark before the first line and a carriage return before a line's end are dropped."""
    text = body.removeprefix(_BOM)
    if b"\r\n" in text:
        text = text.replace(b"\r\n", b"\n")
    lines = pc.split_pattern(pa.array([text], pa.binary()), b"\n").flatten()
    indices = np.flatnonzero(~_blank(lines))
    return Frames(documents=lines if len(indices) == len(lines) else lines.take(pa.array(indices)), indices=indices)


def _blank(lines: Any) -> npt.NDArray[np.bool_]:
    blank: npt.NDArray[np.bool_] = octets.lengths(lines) == 0
    first = octets.data(lines)[octets.offsets(lines)[:-1][~blank]]
    # Only lines that begin with white space can be nothing else, and such lines are rare.
    suspects = np.flatnonzero(~blank)[np.isin(first, list(_WHITESPACE))]
    for line in suspects.tolist():
        blank[line] = not lines[line].as_py().strip(_WHITESPACE)
    return blank


def json_array(body: bytes) -> Frames:
    """One document per item. Raises UnreadableBodyError when the body does not begin like an array.

    A malformed item is a document of its own, which its reader will refuse, as long as quotes and brackets show where it
    ends. From the first place where they don't, all the rest is refused under one index.
    """
    text = body.removeprefix(_BOM).strip(_WHITESPACE)
    if not text.startswith(b"["):
        raise UnreadableBodyError("the body is not a JSON array: send [event, event, …], or one event per line as NDJSON")
    try:
        items = _ARRAY.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return _cut(text)
    bound(len(items))
    return documents([bytes(item) for item in items])


def bound(events: int) -> None:
    """Raises UnreadableBodyError for more events than one request may hold."""
    if events > MOST_EVENTS:
        message = f"the body holds more than {MOST_EVENTS:,} events: send it in requests of a few thousand"
        raise UnreadableBodyError(message)


def _cut(text: bytes) -> Frames:
    """The items of a malformed array, by its quotes and brackets alone."""
    items: list[bytes] = []
    depth, start = 0, 1
    for match in _STRUCTURE.finditer(text):
        token, place = match[0], match.start()
        if token == b'"':
            break
        depth += (token in _OPENING) - (token in _CLOSING)
        if (token == b"," and depth == 1) or depth == 0:
            items.append(text[start:place].strip(_WHITESPACE))
            start = place + 1
        if depth == 0:
            break
    rest = text[start:].strip(_WHITESPACE)
    whole = depth == 0 and not rest
    return dataclasses.replace(documents(items), broken=() if whole else (_unreadable_from(len(items), start, depth),))


def _unreadable_from(index: int, byte: int, depth: int) -> rejection.Rejection:
    where = "text follows the array" if depth == 0 else "the array can't be cut into events"
    reason = f"malformed JSON at event {index}: {where} from byte {byte} on; this and all after it are refused"
    return rejection.malformed(reason, "send a valid JSON array, or one event per line as NDJSON").at(index)
