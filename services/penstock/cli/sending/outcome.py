"""What a sender is told, what it tells while it sends, and how it can fail; plain data, importable without gRPC."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Events, each counted once however often it was sent; `resent` and `reconnects` tell what it took."""

    accepted: int = 0
    rejected: int = 0
    bytes: int = 0
    resent: int = 0
    reconnects: int = 0

    @property
    def answered(self) -> int:
        return self.accepted + self.rejected


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """One event that was refused; `event` counts from 0 over the whole source."""

    event: int
    code: str
    field: str
    reason: str
    remedy: str


class SendError(Exception):
    """Sending can't go on; what was acknowledged stays acknowledged, and in the cursor."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class UnreachableError(SendError):
    """Nothing answered for as long as the sender was told to be patient."""


class RefusedError(SendError):
    """The pipeline answers that sending the same again is pointless."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a connection may leave requests unanswered, and how long (0: for ever) the address may."""

    stall_seconds: float = 30.0
    give_up_seconds: float = 60.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Called on the event loop: after each answer, for each refused event, and with a sentence when something is wrong."""

    progress: Callable[[Totals], None] = lambda _: None
    rejected: Callable[[Rejected], None] = lambda _: None
    trouble: Callable[[str], None] = lambda _: None
