"""One run of a DeadLetterReplay: who it is over kills and restarts, what it says of itself, and what it leaves when it is done.

A run is known by what was asked, not by the object that asked: one that is deleted and applied again is the same run. How far
it is follows from the markers that carry its id. When it is done, a record of it stays beside the markers, so it is never
done twice.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

VERSION = 1
MOST_ERRORS = 32
MOST_EXAMPLE_CHARACTERS = 240
STEERED = frozenset({"suspend", "eventsPerSecond", "ttlSecondsAfterFinished"})
"""Members of a spec that may change while it is the same run, or say nothing of what it does."""

_PREFIX = "penstock.run."
_VERSION_HEADER = _PREFIX + "version"
_ID_HEADER = _PREFIX + "id"
_REPORT_HEADER = _PREFIX + "report"
_ID_CHARACTERS = 32


class Phase(enum.Enum):
    """WAITING: for the log, or for lanes. SUSPENDED: too many failed again. REFUSED: what is asked can't be done."""

    WAITING = "Waiting"
    RUNNING = "Running"
    COMPLETE = "Complete"
    SUSPENDED = "Suspended"
    REFUSED = "Refused"


class ErrorCount(msgspec.Struct, frozen=True, kw_only=True):
    """Letters of one short fingerprint, and what one of them says."""

    fingerprint: str
    count: int
    example: str = ""


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """How far a run is, all its processes together. Letters, but `events_per_second`; times in microseconds, 0 unknown."""

    phase: Phase = Phase.RUNNING
    message: str = ""
    already_run: bool = False
    selected: int = 0
    replayed: int = 0
    landed: int = 0
    failed: int = 0
    quarantined: int = 0
    discarded: int = 0
    by_category: dict[str, int] = {}
    by_error: tuple[ErrorCount, ...] = ()
    started_at: int = 0
    finished_at: int = 0
    events_per_second: int = 0

    @property
    def is_final(self) -> bool:
        """Whether the process that says so is at its end."""
        return self.phase in (Phase.COMPLETE, Phase.SUSPENDED, Phase.REFUSED)


class ReportError(ValueError):
    """A text that is no report."""


def identity(namespace: str, name: str, spec: Mapping[str, Any]) -> str:
    """The id of the run that this spec asks for; `spec` as plain data."""
    meant = {key: value for key, value in spec.items() if key not in STEERED}
    text = msgspec.json.encode([namespace, name, meant], order="deterministic")
    return hashlib.sha256(text).hexdigest()[:_ID_CHARACTERS]


def encode(report: Report, most_bytes: int = 1 << 20) -> bytes:
    """As JSON of at most so many bytes, at least 2,000: the rarest errors are left out first, then the message is cut."""
    told = report
    while len(text := msgspec.json.encode(told)) > most_bytes:
        if told.by_error:
            told = msgspec.structs.replace(told, by_error=told.by_error[:-1])
        elif told.message:
            told = msgspec.structs.replace(told, message=told.message[: len(told.message) // 2])
        else:
            break
    return text


def decode(text: bytes | str) -> Report:
    """The inverse of `encode`. Raises ReportError."""
    try:
        return msgspec.json.decode(text, type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ReportError(f"not a report of a replay: {error}") from error


def done_headers(run: str, report: Report) -> dict[str, bytes]:
    """What stands in the log of a run that is done."""
    return {_VERSION_HEADER: b"%d" % VERSION, _ID_HEADER: run.encode(), _REPORT_HEADER: encode(report, 16_384)}


def done_report(run: str, headers: Mapping[str, bytes]) -> Report | None:
    """The report of this run if `headers` are those of its record. One that a newer release wrote is done all the same."""
    if headers.get(_ID_HEADER) != run.encode() or _VERSION_HEADER not in headers:
        return None
    try:
        return decode(headers.get(_REPORT_HEADER, b""))
    except ReportError:
        return Report(phase=Phase.COMPLETE)
