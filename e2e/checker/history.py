"""What clients sent and were told, as lines of JSON: the half of a fault test that does not depend on Penstock.

`unknown` is an answer that never came: the event may or may not have been taken. Each line says what the event should
make, so the checker knows nothing of any pipeline.
"""

from __future__ import annotations

import hashlib
import io
import pathlib
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

Result = Literal["ok", "fail", "unknown"]
WHOLE = "*"
"""The place of a letter that holds a whole event."""


class Expected(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an event makes in one sink: content digests of its rows by place (item ordinal), and places with a dead letter.

    A place that is in both had its letter replayed and landed then.
    """

    rows: Mapping[str, str] = {}
    letters: frozenset[str] = frozenset()


class Sent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt to send one event. Times are seconds since the epoch. `key` and `seq` say which order is promised."""

    id: str
    sha: str
    sent: float
    answered: float
    result: Result
    key: str = ""
    seq: int = 0
    sinks: Mapping[str, Expected] = {}


class Event(msgspec.Struct, kw_only=True):
    """All attempts at one event together: acknowledged once is acknowledged."""

    id: str
    sha: str
    key: str
    seq: int
    sinks: Mapping[str, Expected]
    result: Result
    attempts: int = 1


_ORDER = {"ok": 2, "unknown": 1, "fail": 0}
_encoder = msgspec.json.Encoder(order="sorted")


class HistoryError(Exception):
    """The history contradicts itself: the fault is the test's."""


class Writer:
    """One client's file, one thread's."""

    def __init__(self, path: pathlib.Path) -> None:
        self._file: io.BufferedWriter = path.open("ab")

    def add(self, sent: Iterable[Sent]) -> None:
        self._file.write(b"".join(_encoder.encode(one) + b"\n" for one in sent))
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read(paths: Iterable[pathlib.Path]) -> list[Sent]:
    """All lines of these files."""
    decoder = msgspec.json.Decoder(Sent)
    return [decoder.decode(line) for path in sorted(paths) for line in path.read_bytes().splitlines()]


def events(sent: Iterable[Sent]) -> dict[str, Event]:
    """One entry per id. Raises HistoryError for an id that stands for two different payloads."""
    found: dict[str, Event] = {}
    for one in sent:
        known = found.get(one.id)
        if known is None:
            found[one.id] = Event(id=one.id, sha=one.sha, key=one.key, seq=one.seq, sinks=one.sinks, result=one.result)
            continue
        if known.sha != one.sha:
            raise HistoryError(f"{one.id} was sent with two payloads")
        known.result = max(known.result, one.result, key=_ORDER.__getitem__)
        known.attempts += 1
    return found


def digest(values: object) -> str:
    """Of a row's content, whatever store it was read from."""
    return hashlib.sha256(msgspec.json.encode(values)).hexdigest()[:16]


def sha(payload: bytes) -> str:
    """Of an event's own bytes."""
    return hashlib.sha256(payload).hexdigest()
