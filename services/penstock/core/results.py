"""Whose fault a failure is, and with that what happens next (docs/delivery.md)."""

from __future__ import annotations

import dataclasses
import enum


class ResultClass(enum.Enum):
    """The five kinds of failure. Only DATA and, at the end of its attempts, UNCLASSIFIED ever make a dead letter."""

    DATA = "Data"
    OUTAGE = "Outage"
    PRESSURE = "Pressure"
    CONFIG = "Config"
    UNCLASSIFIED = "Unclassified"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A write that failed as a whole. `code` is the store's own or a short constant of the sink's."""

    result_class: ResultClass
    code: str
    message: str
    remedy: str = ""
    retry_after_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """A row the store refuses; `row` is its index in the write."""

    row: int
    result_class: ResultClass
    code: str
    message: str
