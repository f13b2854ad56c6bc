"""Letters that hold no bytes, because their records are too large for our own log: read again where the events came from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec
import numpy as np

from penstock.batcher.deadletters import originals
from penstock.core import addresses, deadletters
from penstock.core.records import layout
from penstock.log import port

T = TypeVar("T")

_READ_BYTES = 1
"""`EventLog.read` gives at least one record whatever the bound."""


def stretches(replays: Sequence[T], apart: Sequence[bool]) -> Iterator[Sequence[T]]:
    """Those that hold their bytes together, each of the others alone: many of them would not fit the memory."""
    at = 0
    for alone, found in itertools.groupby(apart):
        count = len(list(found))
        yield from ([one] for one in replays[at : at + count]) if alone else (replays[at : at + count],)
        at += count


async def whole(log: port.EventLog, letter: deadletters.DeadLetter) -> deadletters.DeadLetter | None:
    """The letter with what its record holds; None where that has left its topic. Raises LogError."""
    if letter.log_id != log.log_id or letter.partition >= log.partitions:
        return None
    try:
        found = await log.read(port.EVENTS, letter.partition, letter.offset, max_bytes=_READ_BYTES)
    except port.OffsetOutOfRangeError:
        return None
    if not found or found[0].rows is None or letter.offset not in np.asarray(layout.integers(found[0].rows, layout.OFFSET)):
        return None
    event = originals.of(found[0], letter.original_format).event(addresses.Position(letter.offset))
    return msgspec.structs.replace(letter, original=event.document, record=event.record)
