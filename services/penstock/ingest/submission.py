"""What a door hands in, and what it gets back."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from penstock.core import parse

Payload = bytes | Sequence[bytes]
"""A sequence for Encoding.DOCUMENTS, whose events the transport has framed; else one body."""


class Encoding(enum.Enum):
    """How a request's payload holds its events."""

    SINGLE = "Single"
    DOCUMENTS = "Documents"
    NDJSON = "Ndjson"
    JSON_ARRAY = "JsonArray"
    ARROW = "Arrow"
    CLOUD_EVENT = "CloudEvent"
    CLOUD_EVENT_BINARY = "CloudEventBinary"
    CLOUD_EVENTS = "CloudEvents"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One request. `traceparent` is empty unless the caller's span is sampled."""

    encoding: Encoding
    payload: Payload
    door: str
    received_at_microseconds: int
    traceparent: str = ""
    size_bytes: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        # Asked for more than once, and a sum over thousands of events.
        size = len(self.payload) if isinstance(self.payload, bytes) else sum(map(len, self.payload))
        object.__setattr__(self, "size_bytes", size)

    def likely_events(self) -> int:
        """About how many events there are, found without reading them; only decides when a block closes."""
        if not isinstance(self.payload, bytes):
            return len(self.payload)
        separator = {Encoding.NDJSON: b"\n", Encoding.JSON_ARRAY: b"},", Encoding.CLOUD_EVENTS: b"},"}.get(self.encoding)
        return self.payload.count(separator) + 1 if separator else 1


class RefusalReason(enum.Enum):
    OVERLOADED = "Overloaded"
    DRAINING = "Draining"
    UNKNOWN_OUTCOME = "UnknownOutcome"
    UNREADABLE = "Unreadable"
    KEY_REUSED = "KeyReused"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A whole request that was not taken or, with UNKNOWN_OUTCOME, may or may not have been.

    `retry_after_seconds` 0 means that sending the same again is pointless.
    """

    reason: RefusalReason
    message: str
    retry_after_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a request's events. `accepted` ones are durable; with a `refusal` the other two are empty."""

    accepted: int = 0
    rejected: tuple[parse.Rejection, ...] = ()
    refusal: Refusal | None = None


def refused(reason: RefusalReason, message: str, retry_after_seconds: float = 0.0) -> Outcome:
    return Outcome(refusal=Refusal(reason=reason, message=message, retry_after_seconds=retry_after_seconds))


def sampled(traceparent: str) -> str:
    """The W3C traceparent if it is one and its sampled flag is set, else an empty string."""
    parts = traceparent.split("-")
    widths = [len(part) for part in parts[:4]]
    if widths != [2, 32, 16, 2] or not traceparent.isascii():
        return ""
    try:
        return traceparent if int(parts[3], 16) & 1 else ""
    except ValueError:
        return ""
