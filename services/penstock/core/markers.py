"""What is written into the dead-letter topic after a letter's fate was decided: replayed, or discarded.

A letter stays what it was; a marker beside it, in the same partition, says that this attempt was given to the replay log or
given up. Markers name the attempt, so their order among the letters does not matter and a crash that repeats one changes
nothing. The replay log has an identity of its own in landed ranges, because its offsets are those of another log.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

VERSION = 1
MAX_REASON_CHARACTERS = 1_000
NOWHERE = -1


class MarkerError(ValueError):
    """A record that claims to be a marker and can't be read; the message names the header."""


class Kind(enum.Enum):
    REPLAYED = "Replayed"
    DISCARDED = "Discarded"


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """`attempt` is that of the letter; `replay_offset` where its replay stands in the replay log, NOWHERE if discarded.

    `category` is the letter's and `letter_offset` where it stands beside the marker; NOWHERE if the writer did not know.
    `run` is the id of the run (`core.runs`) that did it, if it was one.
    """

    kind: Kind
    id: str
    lane: str
    attempt: int
    replay_offset: int = NOWHERE
    at_microseconds: int
    reason: str = ""
    category: str = ""
    letter_offset: int = NOWHERE
    run: str = ""


_PREFIX = "penstock.marker."
_VERSION_HEADER = _PREFIX + "version"
_HEADERS = {name: _PREFIX + name.replace("_", "-") for name in Marker.__struct_fields__}
_NUMBERS = ("attempt", "replay_offset", "at_microseconds", "letter_offset")
_LATER = frozenset(("category", "letter_offset", "run"))
"""Fields that the first markers did not have."""


def is_marker(headers: Mapping[str, bytes]) -> bool:
    """Whether a record of the dead-letter topic is a marker of any version, and no letter."""
    return _VERSION_HEADER in headers


def encode(marker: Marker) -> tuple[bytes, dict[str, bytes]]:
    """The record's value, which is empty, and its headers."""
    fields: dict[str, object] = msgspec.to_builtins(marker)
    told = {name: value for name, value in fields.items() if name != "run" or value}
    headers = {_HEADERS[name]: str(value)[:MAX_REASON_CHARACTERS].encode(errors="replace") for name, value in told.items()}
    return b"", {_VERSION_HEADER: b"%d" % VERSION, **headers}


def decode(headers: Mapping[str, bytes]) -> Marker:
    """The inverse of `encode`. Raises MarkerError."""
    version = headers.get(_VERSION_HEADER, b"").decode(errors="replace")
    if version != str(VERSION):
        raise MarkerError(f"{_VERSION_HEADER}: found {version!r}, this release reads {VERSION}")
    try:
        told = {name: header for name, header in _HEADERS.items() if header in headers or name not in _LATER}
        fields = {name: headers[header].decode() for name, header in told.items()}
        found = msgspec.convert(fields, Marker, strict=False)
    except (KeyError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MarkerError(f"a marker with a damaged header: {error}") from error
    if far := [name for name in _NUMBERS if not NOWHERE <= getattr(found, name) < 2**63]:
        raise MarkerError(f"{_HEADERS[far[0]]}: out of range")
    return found


def replay_log_id(log_id: str, sink: str) -> str:
    """The log id of a lane's replay log in ranges: with the main log's, its rows would be trimmed as landed."""
    return f"{log_id}.replay.{sink}"
