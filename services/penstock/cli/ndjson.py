"""Cutting a file or a pipe of newline-delimited JSON into batches of events, without reading one of them.

Blank lines are not events, and a line that no request could carry never becomes one; their numbers are kept, so that event n
can be reported as the line it stands on. What comes slowly through a pipe is passed on as soon as the pipe falls silent, not
when a batch is full.
"""

from __future__ import annotations

import bisect
import os
import select
from collections.abc import Iterator

_READ_BYTES = 1 << 20
_SILENCE_SECONDS = 0.05
LARGEST_EVENT_BYTES = 4 << 20
"""No pipeline takes a larger event."""


class LineReader:
    """Reads one file descriptor once; `batches` may run in a thread while the rest is asked from another.

    `oversized_lines` are the lines longer than LARGEST_EVENT_BYTES so far; they are in no batch.
    """

    def __init__(self, descriptor: int, *, events: int, max_bytes: int) -> None:
        self._descriptor = descriptor
        self._events = events
        self._max_bytes = max_bytes
        self._passed_over: list[int] = []
        self._line = 0
        self.oversized_lines: list[int] = []

    def batches(self) -> Iterator[list[bytes]]:
        """Batches of at most `events` events and `max_bytes` bytes; a single longer event is a batch of its own."""
        batch: list[bytes] = []
        size = 0
        for line in self._lines():
            if line and batch and (len(batch) == self._events or size + len(line) > self._max_bytes):
                yield batch
                batch, size = [], 0
            if line:
                batch.append(line)
                size += len(line)
            elif batch:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def line_of(self, event: int) -> int:
        """The 1-based line of an event counted from 0; exact for events that have been handed out."""
        line = event + 1
        while (shifted := event + 1 + bisect.bisect_right(self._passed_over, line)) != line:
            line = shifted
        return line

    def _lines(self) -> Iterator[bytes]:
        """Every line that is an event, and an empty one for each silence."""
        unfinished: list[bytes] = []
        while chunk := os.read(self._descriptor, _READ_BYTES):
            unfinished.append(chunk)
            if b"\n" in chunk:
                *lines, rest = b"".join(unfinished).split(b"\n")
                unfinished = [rest]
                yield from self._counted(lines)
            if not select.select([self._descriptor], [], [], _SILENCE_SECONDS)[0]:
                yield b""
        if last := b"".join(unfinished):
            yield from self._counted([last])

    def _counted(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            self._line += 1
            if len(line) > LARGEST_EVENT_BYTES:
                self.oversized_lines.append(self._line)
            elif line.strip():
                yield line
                continue
            self._passed_over.append(self._line)
