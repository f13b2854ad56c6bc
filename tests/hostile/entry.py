"""One hostile input: what it is, the door it comes in by, and how to make it. The answers stand in answers.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

KIB, MIB = 1024, 1024 * 1024
JSON, NDJSON = "application/json", "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
CLOUD_EVENT, CLOUD_EVENTS = "application/cloudevents+json", "application/cloudevents-batch+json"

Make = Callable[[], bytes]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event, sent between two good ones as a line, as an item of an array and over gRPC."""

    name: str
    make: Make


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request as a whole."""

    name: str
    make: Make
    kind: str = NDJSON
    path: str = "/v1/events/batch"
    headers: Sequence[tuple[str, str]] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Bytes on a connection of their own, and whether to wait for an answer without sending more."""

    name: str
    make: Make


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """SQL in the place of a selected value; run over small rows where it compiles."""

    name: str
    sql: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A pipeline file."""

    name: str
    make: Make


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A record of the log: its value and headers."""

    name: str
    make: Callable[[], tuple[bytes, Mapping[str, bytes]]]
