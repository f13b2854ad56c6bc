"""One lane's open batch: rows come in by the chunk, and the close line says when they go.

Late binding: a batch that waits for a free slot goes on growing up to the hard cap, and only taking it freezes it. Pure:
the monotonic time is an argument, and the caller keeps one timer for `Wait.until`.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import math
from collections.abc import Sequence

from penstock.core import addresses
from penstock.core.batching import chunks, model

_DITHER_EVERY = 8
_DITHER_SHARE = 0.6


class Reason(enum.Enum):
    """Why a batch went; the value is the label of `penstock_batch_flushes_total`."""

    CLOSE_LINE = "close_line"
    TARGET_ROWS = "target_rows"
    CAP_ROWS = "cap_rows"
    CAP_BYTES = "cap_bytes"
    CAP_LINGER = "cap_linger"
    IDLE = "idle"
    PLAN_FULL = "plan_full"
    REVOKE = "revoke"
    DRAIN = "drain"
    SHUTDOWN = "shutdown"
    RESUMED = "resumed"
    """Planned by a process before this one, and sent as it was planned."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Frozen rows of one write, in address order per partition."""

    chunks: Sequence[chunks.Chunk]
    reason: Reason
    rows: int
    bytes: int
    born: float

    @property
    def ranges(self) -> list[addresses.Range]:
        """The batch's identity."""
        return addresses.merge(chunk.range for chunk in self.chunks)


class Builder:
    """The open batch. `add` and `take` keep counts by the chunk; nothing here looks at a row."""

    def __init__(self, write_model: model.WriteModel, limits: model.Limits, *, send_when_idle: bool = False) -> None:
        self._model, self._limits = write_model, limits
        self._send_when_idle = send_when_idle
        self._chunks: collections.deque[chunks.Chunk] = collections.deque()
        self._rows = self._bytes = self._taken = 0

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def bytes(self) -> int:
        return self._bytes

    @property
    def born(self) -> float:
        """Of the oldest rows; inf while it is empty."""
        return self._chunks[0].born if self._chunks else math.inf

    @property
    def write_model(self) -> model.WriteModel:
        return self._model

    def apply(self, write_model: model.WriteModel) -> None:
        """Follow another model from now on; the open batch is kept."""
        self._model = write_model

    def follow(self, limits: model.Limits, *, send_when_idle: bool) -> None:
        """Other bounds from now on; the open batch is kept."""
        self._limits, self._send_when_idle = limits, send_when_idle

    def add(self, chunk: chunks.Chunk) -> None:
        """Append a chunk; one without rows is finished by its caller and never comes here."""
        self._chunks.append(chunk)
        self._rows += chunk.rows.num_rows
        self._bytes += chunk.bytes

    def due(self, now: float, *, level: float = 1.0, nothing_unread: bool = False) -> Reason | float:
        """Why the open batch must go now, or the monotonic time at which to ask again (inf while it is empty)."""
        if not self._rows:
            return math.inf
        if reason := self._full(level):
            return reason
        if self._send_when_idle and nothing_unread:
            return Reason.IDLE
        return self._aged(now, level)

    def drains(self) -> Reason | float:
        """Why the open batch must go when nothing more is to come."""
        return Reason.DRAIN if self._rows else math.inf

    def _full(self, level: float) -> Reason | None:
        if self._rows >= min(self._limits.rows, self._model.timeout_rows(self._limits.write_timeout_seconds, level)):
            return Reason.CAP_ROWS
        if self._bytes >= self._limits.bytes:
            return Reason.CAP_BYTES
        return Reason.TARGET_ROWS if self._rows >= self._model.target_rows else None

    def _aged(self, now: float, level: float) -> Reason | float:
        line = self._model.close_line(self._rows, level)
        if self._model.dither and self._taken % _DITHER_EVERY == _DITHER_EVERY - 1:
            line *= _DITHER_SHARE
        born = self._chunks[0].born
        if now - born >= self._limits.linger_seconds:
            return Reason.CAP_LINGER
        if now - born >= line:
            return Reason.CLOSE_LINE
        return born + min(line, self._limits.linger_seconds)

    def take(self, reason: Reason, *, level: float = 1.0) -> Batch:
        """Freeze and remove the next batch: all rows, up to the hard caps. Never called while the batch is empty."""
        room = min(self._model.cap_rows, self._limits.rows, self._model.timeout_rows(self._limits.write_timeout_seconds, level))
        taken = self._take_rows(room)
        rows = sum(chunk.rows.num_rows for chunk in taken)
        size = sum(chunk.bytes for chunk in taken)
        self._rows -= rows
        self._bytes -= size
        self._taken += 1
        return Batch(chunks=taken, reason=reason, rows=rows, bytes=size, born=min(chunk.born for chunk in taken))

    def _take_rows(self, room: int) -> list[chunks.Chunk]:
        if self._rows <= room and self._bytes <= self._limits.bytes:
            everything, self._chunks = list(self._chunks), collections.deque()
            return everything
        taken: list[chunks.Chunk] = []
        free_bytes = self._limits.bytes
        while self._chunks and room > 0 and free_bytes > 0:
            chunk = self._chunks[0]
            fitting = min(room, max(1, int(chunk.rows.num_rows * free_bytes / max(1, chunk.bytes))))
            head, rest = chunk.cut(fitting)
            if rest is not None and taken and head.range.end.item:
                # A large event is split only where it begins its own batch, so that it is split as seldom as possible.
                break
            self._replace_first(rest)
            taken.append(head)
            room -= head.rows.num_rows
            free_bytes -= head.bytes
            if rest is not None:
                break
        return taken

    def _replace_first(self, rest: chunks.Chunk | None) -> None:
        self._chunks.popleft()
        if rest is not None:
            self._chunks.appendleft(rest)

    def drop(self, partition: int) -> None:
        """Forget what is open of one partition: it was revoked and somebody else reads it again."""
        self._chunks = collections.deque(chunk for chunk in self._chunks if chunk.range.partition != partition)
        self._rows = sum(chunk.rows.num_rows for chunk in self._chunks)
        self._bytes = sum(chunk.bytes for chunk in self._chunks)
