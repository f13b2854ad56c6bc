"""Why one event is refused."""

from __future__ import annotations

import dataclasses
import enum


class Code(enum.Enum):
    """The category; the same words as a dead letter's."""

    MALFORMED = "Malformed"
    SCHEMA_MISMATCH = "SchemaMismatch"
    TOO_LARGE = "TooLarge"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """One refused event: its index in what was handed in, the path of the field at fault (empty: the event), and the way out."""

    index: int
    code: Code
    field: str
    reason: str
    remedy: str


class RefusedError(Exception):
    """Raised while one event is read; becomes a Rejection where the index is known."""

    def __init__(self, code: Code, field: str, reason: str, remedy: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.code, self.field, self.reason, self.remedy = code, field, reason, remedy

    def at(self, index: int) -> Rejection:
        return Rejection(index=index, code=self.code, field=self.field, reason=self.reason, remedy=self.remedy)


def malformed(reason: str, remedy: str = "send one JSON object per event") -> RefusedError:
    return RefusedError(Code.MALFORMED, "", reason, remedy)


def mismatch(field: str, reason: str, remedy: str) -> RefusedError:
    return RefusedError(Code.SCHEMA_MISMATCH, field, reason, remedy)
